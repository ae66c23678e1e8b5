"""What was probably meant where a token is not expected: the end of the message, and the place that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from runner.eql.syntax import tokens
from runner.eql.syntax.tokens import Token
from runner.messages.foreign_queries import foreign_hint
from runner.messages.suggestions import near_names, suggestion
from runner.messages.text_positions import OtherPlace, Span

PIPES = "; the pipes are [head N] and [tail N], in Elasticsearch as well"
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
"""Milliseconds of the units of time."""
_CONSTANTS = frozenset({tokens.STRING, tokens.INTEGER, tokens.DECIMAL, "true", "false", "null"})
_NAMES = frozenset({tokens.IDENTIFIER, tokens.QUOTED_IDENTIFIER})
_CATEGORIES = frozenset({tokens.IDENTIFIER, tokens.STRING, "any"})
_PATTERNS = frozenset({":", "like", "like~", "regex", "regex~"})
_MEMBERSHIPS = frozenset({"in", "in~"})
_NUMBERS = frozenset({tokens.INTEGER, tokens.DECIMAL})
_CLOSINGS = {"(": ")", "[": "]", "![": "]"}
_LISTS = frozenset({")", "]", ",", tokens.END, "["})
_SHOWN = 24
"""Characters of the text after a bracket that are shown with it."""
_INFIX = {
    "is": "[is null] is written [== null], [is not null] [!= null]",
    "contains": 'a part of a text is written [: "*...*"], or stringContains(field, "...")',
    "startswith": 'the beginning of a text is written [: "...*"]',
    "endswith": 'the end of a text is written [: "*..."]',
    "matches": 'patterns are written [: "nc*"], [like "nc*"] and [regex "n.*"]',
    "equals": "equality is written [==]",
    "eq": "equality is written [==]",
    "ne": "inequality is written [!=]",
    "has": 'a part of a text is written [: "*...*"]',
    "between": "a range is written [field >= 1 and field <= 5]",
    "exists": "that a field has a value is written [field != null]",
    "then": "the stages of a sequence follow each other with nothing between them",
}
_UNIT_WORDS = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "hr": "h", "day": "d", "milli": "ms",
               "millisecond": "ms", "msec": "ms", "M": "m", "S": "s", "H": "h", "D": "d"}  # fmt: skip


class Advice(NamedTuple):
    """The end of a message, empty if nothing comes to mind, and the second place that it speaks of."""

    hint: str = ""
    other: OtherPlace | None = None


def advice(text: str, given: Sequence[Token], index: int, wanted: Set[str]) -> Advice:
    """What the writer of a query probably meant by the token at `index`, where those of `wanted` could stand."""
    if hint := foreign_hint(text, "EQL"):
        return Advice(hint)
    token, before = given[index], given[max(0, index - 1)]
    after = given[min(index + 1, len(given) - 1)]
    quotes = _quotes(given, index) if before.kind == tokens.STRING else None
    return (
        quotes
        or _said(_operator(given, index))
        or _said(_list(token, before, wanted))
        or _said(_sequence(token, before, after, wanted))
        or _said(_word(token, before, wanted))
        or _bracket(text, given, index)
    )


def unit_hint(number: str, unit: str) -> str:
    """The unit that was probably meant, to be put after a message."""
    known = _UNIT_WORDS.get(unit) or _UNIT_WORDS.get(unit.lower().rstrip("s"))
    if known is None and unit.lower().rstrip("s") in ("w", "week"):
        return f"; a week is [7d]: [{7 * int(number)}d]" if len(number) < 10 else ""
    return suggestion([f"{number}{known}"]) if known else ""


def _said(hint: str) -> Advice | None:
    return Advice(hint) if hint else None


def _operator(given: Sequence[Token], index: int) -> str:
    """The operator that was meant by signs of other languages."""
    token, before = given[index], given[max(0, index - 1)]
    after = given[min(index + 1, len(given) - 1)]
    touches = before.end == token.start
    if token.kind == "=" and after.start == token.end and after.kind in ("<", ">"):
        return f"; it is written [{after.kind}=]"
    if token.kind == "=" and after.start == token.end and after.text == "~":
        return '; a pattern is written [: "nc*"], a regular expression [regex~ "n.*"]'
    if token.kind == "=" and before.kind not in ("maxspan", "runs"):
        return "; equality is written [==]"
    if token.kind == ">" and before.kind == "<" and touches:
        return "; inequality is written [!=]"
    if token.kind == "|" and before.kind == "|":
        return "; a disjunction is written [or]"
    if token.kind == "?" and before.kind in _NAMES:
        name = _name_before(given, index)
        return f"; [?] stands before the name of an optional field: [?{_cut(name)}]"
    return ""


def _name_before(given: Sequence[Token], index: int) -> str:
    parts = [given[index - 1].text]
    place = index - 2
    while place > 0 and given[place].kind == "." and given[place - 1].kind in _NAMES:
        parts[:0] = [given[place - 1].text, "."]
        place -= 2
    return "".join(parts)


def _list(token: Token, before: Token, wanted: Set[str]) -> str:
    """What is wrong with a list of values or keys."""
    if before.kind == "," and token.kind in _LISTS:
        return "; nothing follows the comma before it: leave that out"
    if before.kind == "(" and token.kind in (")", ","):
        return "; at least one value stands in the parentheses"
    if wanted == {"("} and before.kind in _MEMBERSHIPS:
        shown = token.text if token.kind in _CONSTANTS and len(token.text) < 40 else "..."
        return f"; the values stand in parentheses: [{before.kind} ({shown})]"
    if {",", ")"} <= wanted and token.kind in _CONSTANTS and before.kind in _CONSTANTS:
        return "; a comma is missing before it"
    if wanted <= _CONSTANTS | {"("} and tokens.STRING in wanted and token.kind in _NAMES:
        return f'; a text stands in double quotes: ["{_cut(token.text)}"]'
    if wanted <= _CONSTANTS | {"("} and tokens.STRING in wanted and token.kind == "[":
        return "; a list stands in parentheses"
    return ""


def _sequence(token: Token, before: Token, after: Token, wanted: Set[str]) -> str:
    """What is wrong with the options and stages of a sequence."""
    kind = token.kind
    if kind == "maxspan" and "with" in wanted:
        return "; [with] stands before it: [with maxspan=...]"
    if wanted == {"maxspan"} and token.text == "runs":
        return "; [with runs=...] stands after the stage that is repeated, [with maxspan=...] before the first stage"
    if wanted == {"="}:
        return f"; it is written [{_cut(before.text)}=...]"
    if wanted == _NUMBERS and kind == tokens.STRING:
        return f"; a length of time stands without quotes: [{_cut(token.text).strip(chr(34))}]"
    if kind == "by" and "by" not in wanted and "[" in wanted:
        return "; [by] stands before [with]"
    if kind in ("and", "or", ",", "|") and "[" in wanted and before.kind == "]":
        return "; the stages of a sequence follow each other with nothing between them"
    if kind == "[" and "sequence" in wanted:
        return "; stages stand behind [sequence by KEY], or [sample by KEY]"
    if not wanted & {"[", "!["}:
        return ""
    if kind in _CATEGORIES and after.kind == "where":
        return f"; a stage stands in brackets: [[] is missing before [{_cut(token.text)} where]"
    if kind == "where" and before.kind in _CATEGORIES:
        return f"; a stage stands in brackets: [[] is missing before [{_cut(before.text)} where]"
    return "; a stage stands in brackets: [[process where ...]]" if kind in _CATEGORIES else ""


def _word(token: Token, before: Token, wanted: Set[str]) -> str:
    """The keyword that was meant."""
    if wanted == _MEMBERSHIPS and token.kind in _PATTERNS:
        return f"; [not] stands before the value: [not x {token.kind} ...]"
    if wanted == _NAMES and token.kind in tokens.KEYWORDS:
        return f"; a name that is a keyword stands in backquotes: [`{_cut(token.text)}`]"
    if before.kind == "|" and wanted == {tokens.IDENTIFIER}:
        return PIPES + ("; a condition is joined with [and]" if token.kind == "where" else "")
    if wanted == {"where"} and token.kind in ("]", "|", tokens.END) and before.kind in _CATEGORIES:
        return f"; all events of a category are [{_cut(before.text)} where true]"
    if token.kind != tokens.IDENTIFIER:
        return ""
    keywords = [kind for kind in tokens.KEYWORDS if kind in wanted]
    if token.text.lower() in keywords:
        return f"; keywords are in lower case: [{token.text.lower()}]"
    if "==" in wanted and token.text.lower() in _INFIX:
        return f"; {_INFIX[token.text.lower()]}"
    return suggestion(near_names(token.text, keywords, least=0.6)[:1])


def _quotes(given: Sequence[Token], index: int) -> Advice | None:
    """That quotes do not pair: a string ends in front of the token at once, and a later one is not closed."""
    last, string = given[-1], given[index - 1]
    if last.kind == tokens.UNKNOWN and last.text == '"' and given[index].start == string.end:
        return Advice("; the quotes do not pair: one is missing before or after", _opened(string, "read as one string"))
    return None


def _bracket(text: str, given: Sequence[Token], index: int) -> Advice:
    """The bracket before the token that is never closed; or that the token closes none."""
    token = given[index]
    unclosed, left_open = _never_closed(given[:index])
    if token.kind in (")", "]") and not any(_CLOSINGS[given[each].kind] == token.kind for each in left_open):
        return Advice(f"; no [{'(' if token.kind == ')' else '['}] is open here")
    lost, to_the_end = _never_closed(given)
    before = [place for place in {*unclosed, *lost, *to_the_end} if place < index]
    if not before:
        return Advice()
    opened = given[max(before)]
    shown = text[opened.start : min(opened.start + _SHOWN, token.start)].split("\n")[0].rstrip()
    if opened.kind == "(":
        return Advice(f"; the [(] of [{shown}] is not closed", _opened(opened, "opened here"))
    where = "" if token.kind == tokens.END else f" before [{_cut(token.text)}]"
    return Advice(f"; the stage [{shown}] is not closed: []] is missing{where}", _opened(opened, "opened here"))


def _never_closed(given: Sequence[Token]) -> tuple[list[int], list[int]]:
    """The brackets that were passed over by others, and those that are open at the end.

    Stages do not stand in each other: one that begins, or ends, passes over what is open in it.
    """
    lost: list[int] = []
    open_: list[int] = []
    stage = False
    for place, one in enumerate(given):
        if one.kind in ("[", "!["):
            lost += open_
            open_, stage = [place], True
        elif one.kind == "(":
            open_.append(place)
        elif one.kind == ")" and open_ and given[open_[-1]].kind == "(":
            open_.pop()
        elif one.kind == "]" and stage:
            lost += open_[1:]
            open_, stage = [], False
    return lost, open_


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _opened(token: Token, label: str) -> OtherPlace:
    return OtherPlace(Span(token.start, token.end), label)
