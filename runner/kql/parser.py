"""From text to syntax tree: the grammar of Kibana's KQL, whose alternatives are tried in order and the first that fits
is final. What could have stood at the furthest character reached is what an error says.

Grammar: https://github.com/elastic/kibana, kbn-es-query, kuery/grammar
"""

from __future__ import annotations

import re
from typing import NoReturn

from runner.kql.ast import KqlAnd, KqlIs, KqlNested, KqlNode, KqlNot, KqlOr, KqlPattern, KqlRange, KqlText, KqlValue
from runner.kql.errors import KqlSyntaxError
from runner.messages.foreign_queries import foreign_hint, language_of
from runner.messages.query_doubts import unclosed_bracket
from runner.messages.query_errors import QueryFinding
from runner.messages.suggestions import near_names
from runner.messages.text_positions import Source, Span

MAX_DEPTH = 100
"""How deep brackets and braces may stand in each other."""

_SPACE = r"[ \t\r\n\xa0]"
_SPACES = re.compile(f"{_SPACE}*")
_WORDS = {word: re.compile(f"{_SPACE}+{word}{_SPACE}+", re.IGNORECASE) for word in ("or", "and")}
_NOT = re.compile(f"not{_SPACE}+", re.IGNORECASE)
_OPERATOR = re.compile("<=|>=|<|>")
_QUOTED = re.compile(r'"(?:\\[\\"]|[^"])*+"')
_KEYWORD = r"(?i:or|and|not)"
_UNQUOTED = re.compile(
    rf"(?:\\[trn]|\\[\\():<>\"*{{}}]|\\u[0-9a-fA-F]{{4}}|\\{_KEYWORD}|\*"
    # Whether a keyword follows is the same all along a run of blanks.
    rf"|(?!(?<!{_SPACE}){_SPACE}+(?i:or|and){_SPACE})(?!(?i:not){_SPACE})[^\\():<>\"*{{}}])+"
)
_ESCAPE = re.compile(rf"\\(?:([trn])|u([0-9a-fA-F]{{4}})|([\\():<>\"*{{}}]|{_KEYWORD}))|(\*)")
_JOINS = ("and", "or")
_QUOTED_ESCAPE = re.compile(r'\\(?:([trn])|u([0-9a-fA-F]{4})|([\\"]))')
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_TRIMMED = (
    " \t\n\v\f\r\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f"
    "\u3000\ufeff"
)
"""What JavaScript takes off the ends of a text."""


def parse(text: str) -> KqlNode:
    """The syntax tree of a query. Raises KqlSyntaxError at the furthest character that could be read.

    >>> parse("a:1 or not b:2").operands[1].operand.value.text
    '2'
    """
    return _Parser(text).query()


class _Failed(Exception):  # noqa: N818 - no error yet: the next alternative is tried
    """An alternative does not fit."""


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._furthest, self._wanted = 0, dict[str, None]()
        self._depth = 0

    def query(self) -> KqlNode:
        """The whole text."""
        end = len(self._text)
        self._skip()
        if self._place == end:
            everything = KqlPattern(Span(0, end), ("", ""))
            return KqlIs(Span(0, end), everything, everything)
        try:
            node = self._or()
            self._skip()
            if self._place < end:
                self._fail(self._place, "AND", "OR", "the end")
        except _Failed:
            self._refuse()
        return node

    # Errors.

    def _fail(self, place: int, *wanted: str) -> NoReturn:
        if place > self._furthest:
            self._furthest, self._wanted = place, {}
        if place == self._furthest:
            self._wanted.update(dict.fromkeys(wanted))
        raise _Failed

    def _refuse(self) -> NoReturn:
        place, text = self._furthest, self._text
        found = f"`{text[place]}`" if place < len(text) else "the end of the query"
        *some, last = sorted(self._wanted, key=lambda one: (one == "the end", one))
        wanted = f"{', '.join(some)} or {last}" if some else last
        span = Span(place, min(place + 1, len(text)))
        hint, other = self._hint(place), unclosed_bracket(text, place)
        foreign = foreign_hint(text, "KQL")
        if foreign and not (hint and language_of(text) == "Lucene's syntax"):  # which KQL is near to
            hint, other = foreign, None
        elif other is not None and not hint:
            hint = f"; the `{text[other.span.start]}` before it is not closed"
        finding = QueryFinding(span, f"expected {wanted}, found {found}", hint, other=other)
        raise KqlSyntaxError(Source(text), [finding])

    def _hint(self, place: int) -> str:
        """What the writer probably meant; empty if nothing comes to mind."""
        text = self._text
        char, before, after = text[place : place + 1], text[:place], text[place:]
        if char == '"' and _QUOTED.match(text, place) is None:
            return "; the quote is not closed"
        if char == "\\":
            return r'; a backslash in a value is written \\; only \ ( ) : < > " * { } may follow one'
        if char and char in "<>" and before.rstrip().endswith(":"):
            return "; a range is written without a colon: `field >= 1`"
        if char == "(" and (word := re.search(r"(?<!\w)(?:and|or|not)$", before, re.IGNORECASE)):
            return f"; a space stands between `{word[0]}` and `(`"
        if re.match(rf"not{_SPACE}", after, re.IGNORECASE):
            return "; `not` begins a condition even within a word: quote the value"
        if char == ":" and re.search(r"&&|\|\|", before):
            return "; conditions are joined with `and` and `or`"
        if char == ":" and "\n" in before[before.rfind(":") + 1 :].strip(_TRIMMED):
            return "; a line break joins nothing: put `and` or `or` between conditions"
        if char == ":" and not before.strip(_TRIMMED):
            return "; a field stands before the colon"
        if char == ":" and (slip := _slip(before)):
            return f"; did you mean `{slip[0]}` instead of `{slip[1]}`?"
        if char == ":":
            return "; quote a value with a colon in it, or put `and` or `or` between conditions"
        if char in ("(", '"') or (char == "{" and before.rstrip().endswith(":")):
            return "; put `and` or `or` between conditions" if "OR" in self._wanted else ""
        return ""

    # Queries.

    def _skip(self) -> None:
        found = _SPACES.match(self._text, self._place)
        assert found is not None
        self._place = found.end()

    def _or(self) -> KqlNode:
        start, operands = self._place, [self._and()]
        while self._word("or"):
            operands.append(self._and())
        return operands[0] if len(operands) == 1 else KqlOr(self._since(start), tuple(operands))

    def _and(self) -> KqlNode:
        start, operands = self._place, [self._not()]
        while self._word("and"):
            operands.append(self._not())
        return operands[0] if len(operands) == 1 else KqlAnd(self._since(start), tuple(operands))

    def _word(self, word: str) -> bool:
        """Whether the operator stands here with blanks around it, and has an operand after them."""
        found = _WORDS[word].match(self._text, self._place)
        if found is not None:
            self._place = found.end()
        return found is not None

    def _not(self) -> KqlNode:
        start = self._place
        if (found := _NOT.match(self._text, start)) is None:
            return self._part()
        self._place = found.end()
        operand = self._part()
        return KqlNot(self._since(start), operand)

    def _part(self) -> KqlNode:
        if self._text.startswith("(", self._place):
            return self._enclosed(")")
        return self._leaf()

    def _enclosed(self, end: str) -> KqlNode:
        """The query in the brackets or braces that begin here."""
        start = self._place
        self._enter(start)
        self._place += 1
        self._skip()
        node = self._or()
        self._skip()
        self._close(end)
        return node

    def _enter(self, start: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            finding = QueryFinding(Span(start, start + 1), f"more than {MAX_DEPTH} brackets stand in each other")
            raise KqlSyntaxError(Source(self._text), [finding])

    def _close(self, end: str) -> None:
        if not self._text.startswith(end, self._place):
            self._fail(self._place, "AND", "OR", f"`{end}`")
        self._place += 1
        self._depth -= 1

    def _leaf(self) -> KqlNode:
        start = self._place
        first = self._literal("a field", "a value", "NOT", "`(`")
        after_first = self._place
        self._skip()
        if self._text.startswith(":", self._place):
            self._place += 1
            self._skip()
            if self._text.startswith("{", self._place):
                condition = self._enclosed("}")
                return KqlNested(self._since(start), first, condition)
            return self._values(_field(first), start)
        operator = _OPERATOR.match(self._text, self._place)
        if operator is not None:
            self._place = operator.end()
            self._skip()
            value = self._literal("a value")
            return KqlRange(self._since(start), first, operator[0], value)  # type: ignore[arg-type]
        self._place = after_first
        return KqlIs(self._since(start), None, first)

    # Values of a field.

    def _values(self, field: KqlValue | None, start: int) -> KqlNode:
        if not self._text.startswith("(", self._place):
            value = self._literal("a value", "`(`", "`{`")
            return KqlIs(self._since(start), field, value)
        self._enter(self._place)
        self._place += 1
        self._skip()
        node = self._any_value(field)
        self._skip()
        self._close(")")
        return node

    def _any_value(self, field: KqlValue | None) -> KqlNode:
        start, operands = self._place, [self._every_value(field)]
        while self._word("or"):
            operands.append(self._every_value(field))
        return operands[0] if len(operands) == 1 else KqlOr(self._since(start), tuple(operands))

    def _every_value(self, field: KqlValue | None) -> KqlNode:
        start, operands = self._place, [self._negated_value(field)]
        while self._word("and"):
            operands.append(self._negated_value(field))
        return operands[0] if len(operands) == 1 else KqlAnd(self._since(start), tuple(operands))

    def _negated_value(self, field: KqlValue | None) -> KqlNode:
        start = self._place
        if (found := _NOT.match(self._text, start)) is None:
            return self._values(field, start)
        self._place = found.end()
        operand = self._values(field, self._place)
        return KqlNot(self._since(start), operand)

    # Literals.

    def _literal(self, *wanted: str) -> KqlValue:
        text, start = self._text, self._place
        if (quoted := _QUOTED.match(text, start)) is not None:
            self._place = quoted.end()
            inner = text[start + 1 : self._place - 1]
            value = _joined_units(_QUOTED_ESCAPE.sub(_unescaped, inner))
            return KqlText(Span(start, self._place), value, quoted=True)
        if (found := _UNQUOTED.match(text, start)) is None:
            self._fail(start, *wanted)
        self._place = found.end()
        return _unquoted(text, start, found.end())

    def _since(self, start: int) -> Span:
        end = len(self._text[start : self._place].rstrip(_TRIMMED))
        return Span(start, start + max(end, 1))


def _slip(before: str) -> tuple[str, str] | None:
    """A word between two conditions that is nearly `and` or `or`, after the one that is meant."""
    for word in before[before.rfind(":") + 1 :].split()[1:-1]:
        if word.lower() in _JOINS:
            return None
        for meant in ("and", "or"):
            if sorted(word.lower()) == sorted(meant) or (
                len(word) > 2 and near_names(word.lower(), [meant], least=0.6)
            ):
                return meant, word
    return None


def _field(name: KqlValue) -> KqlValue | None:
    """The field of that name; an unquoted `null` is none."""
    return None if isinstance(name, KqlText) and name.value is None else name


def _unescaped(found: re.Match[str]) -> str:
    control, code, char = found.group(1, 2, 3)
    if control:
        return _CONTROLS[control]
    return chr(int(code, 16)) if code else str(char)


def _unquoted(text: str, start: int, end: int) -> KqlValue:
    parts, place = [""], start
    for found in _ESCAPE.finditer(text, start, end):
        parts[-1] += text[place : found.start()]
        place = found.end()
        if found[4]:
            parts.append("")
        else:
            parts[-1] += _unescaped(found)
    parts[-1] += text[place:end]
    parts[0] = parts[0].lstrip(_TRIMMED)
    parts[-1] = parts[-1].rstrip(_TRIMMED)
    span = Span(start, start + max(len(text[start:end].rstrip(_TRIMMED)), 1))
    if len(parts) > 1:
        return KqlPattern(span, tuple(map(_joined_units, parts)))
    whole = _joined_units(parts[0])
    return KqlText(span, _CONSTANTS.get(whole, whole))


def _joined_units(text: str) -> str:
    r"""Surrogate pairs, of `\uXXXX` escapes, as the characters that they are."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
