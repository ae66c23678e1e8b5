"""What is doubtful in a condition in EQL: tests that can never or must always hold, wildcards that are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.checks.constraints import Constraints, Demand, demand_of
from runner.events.fields.schema import KEYWORDS
from runner.expressions import nodes
from runner.messages.quantities import counted
from runner.messages.query_errors import QueryFinding
from runner.messages.text_positions import Source, Span

_NOTHING = Constraints()


def condition_findings(condition: nodes.Expression, source: Source, *, quoted: bool = False) -> Iterator[QueryFinding]:
    """Every finding about a condition, whose names need not be resolved. `quoted`: of a language in which texts with
    wildcards are exact only in quotes."""
    yield from _impossible(condition, source, _NOTHING)
    yield from _repeated(condition, source)
    for node in nodes.walk(condition):
        yield from _always(node, source)
        yield from _literal_wildcards(node, quoted=quoted)


def implies(condition: nodes.Expression, tests: Sequence[nodes.Expression]) -> bool:
    """Whether every event that meets the condition meets all tests, as far as values of single fields show."""
    within = _NOTHING.with_all(_demands(condition))
    for test in tests:
        opposite = demand_of(test, negated=True)
        if opposite is None or next(within.with_all([opposite]).contradictions(), None) is None:
            return False
    return bool(tests)


# Never.


def _parts(condition: nodes.Expression) -> Iterator[nodes.Expression]:
    """The parts of a conjunction; `not (a or b)` is one of `not a` and `not b`."""
    if isinstance(condition, nodes.And):
        for operand in condition.operands:
            yield from _parts(operand)
    elif isinstance(condition, nodes.Not) and isinstance(condition.operand, nodes.Or):
        for operand in condition.operand.operands:
            yield from _parts(nodes.Not(operand.span, operand))
    else:
        yield condition


def _demands(condition: nodes.Expression) -> list[Demand]:
    return [found for part in _parts(condition) if (found := demand_of(part)) is not None]


def _fails(condition: nodes.Expression, outer: Constraints) -> tuple[Demand, Demand] | None:
    """Two demands of a conjunction, and of what must hold beside it, that no event meets both."""
    return next(outer.with_all(_demands(condition)).contradictions(), None)


def _impossible(condition: nodes.Expression, source: Source, outer: Constraints) -> Iterator[QueryFinding]:
    """A finding for each smallest part that no event can meet, given what must hold beside it."""
    found = _fails(condition, outer)
    if found is not None:
        yield _never(*found, source, condition.span)
        return
    within = outer.with_all(_demands(condition))
    for part in _parts(condition):
        if isinstance(part, nodes.Or):
            for operand in part.operands:
                yield from _impossible(operand, source, within)


def _never(first: Demand, last: Demand, source: Source, part: Span) -> QueryFinding:
    here = last if part.start <= last.node.span.start < part.end else first
    other = first if here is last else last
    is_opposite = " not" if other.negated else ""
    text = (
        f"this can never hold: beside it stands{is_opposite} `{_shown(source, other.node)}`, and no value of "
        f"`{here.field}` meets both"
    )
    if first.is_null or last.is_null:
        text = (
            f"this can never hold: beside it stands{is_opposite} `{_shown(source, other.node)}`, and a test of "
            f"`{here.field}` holds for no event without a value"
        )
    return QueryFinding(here.node.span, text, "; did you mean `or`?" if _may_be_or(first, last) else "", "never-true")


def _may_be_or(first: Demand, last: Demand) -> bool:
    return first.values is not None and last.values is not None


def _shown(source: Source, node: nodes.Expression) -> str:
    return _cut(" ".join(source.text[node.span.start : node.span.end].split()))


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


# Always.


def _always(node: nodes.Expression, source: Source) -> Iterator[QueryFinding]:
    """`a != 1 or a != 2`: every value is another one than one of the two."""
    operands: tuple[nodes.Expression, ...] = ()
    if isinstance(node, nodes.Or):
        operands = node.operands
    elif isinstance(node, nodes.Not) and isinstance(node.operand, nodes.And):
        operands = tuple(nodes.Not(part.span, part) for part in node.operand.operands)
    opposites = [found for one in operands if (found := demand_of(one, negated=True)) is not None]
    if len(opposites) < 2:
        return
    pair = next(_NOTHING.with_all(opposites).contradictions(), None)
    if pair is None:
        return
    first, last = pair
    text = (
        f"with `{_shown(source, first.node)}` before it this always holds: every value of `{last.field}` meets one of "
        "the two"
    )
    yield QueryFinding(last.node.span, text, "; did you mean `and`?", "always-true")


# Values.


def _literal_wildcards(node: nodes.Expression, *, quoted: bool) -> Iterator[QueryFinding]:
    """`==` and `in`, which know no wildcards, with texts that look like patterns; in KQL those in quotes."""
    constants: Sequence[nodes.Expression] = ()
    operator: str = ""
    if isinstance(node, nodes.Comparison) and node.operator in ("==", "!="):
        constants, operator = (node.left, node.right), node.operator
    elif isinstance(node, nodes.Membership):
        constants, operator = node.items, "in~" if node.insensitive else "in"
    elif isinstance(node, nodes.Phrase) and node.value.exact.type in KEYWORDS:
        constants = (nodes.Constant(node.span, node.text),)
    found = [
        one.span
        for one in constants
        if isinstance(one, nodes.Constant) and isinstance(one.value, str) and _is_pattern(one.value)
    ]
    if not found:
        return
    more = f" (and in {counted(len(found) - 1, 'other value')} beside it)" if len(found) > 1 else ""
    text = f"in quotes `*` and `?` are no wildcards{more}: a value has to have them in it"
    hint = "; a pattern is written without quotes"
    if not quoted:
        text = f"`{operator}` knows no wildcards{more}: a value has to have this very `*` or `?` in it"
        hint = "; patterns are written with `:` or `like`"
    yield QueryFinding(found[0], text, hint, "wildcard-in-equality")


def _is_pattern(text: str) -> bool:
    """Whether a text is more likely meant as a pattern: a star with something beside it, or a drive letter as `?:\\`.

    Windows writes the name of a share as `\\\\*\\IPC$`.
    """
    if text.startswith("?:\\"):
        return True
    return "*" in text and text.strip("*") != "" and " " not in text.strip() and not text.startswith("\\\\*\\")


def _repeated(condition: nodes.Expression, source: Source) -> Iterator[QueryFinding]:
    """The first value that stands twice in its list, and how many more do."""
    spans: list[Span] = []
    for node in nodes.walk(condition):
        if not isinstance(node, nodes.Membership | nodes.Pattern):
            continue
        seen: set[nodes.Value] = set()
        for one in node.items if isinstance(node, nodes.Membership) else node.patterns:
            if isinstance(one, nodes.Constant):
                if one.value in seen:
                    spans.append(one.span)
                seen.add(one.value)
    if spans:
        shown = _cut(source.text[spans[0].start : spans[0].end])
        more = f"; {counted(len(spans) - 1, 'other value')} of this condition as well" if len(spans) > 1 else ""
        yield QueryFinding(
            spans[0], f"`{shown}` stands twice in its list{more}", "; is another value meant?", "repeated-value"
        )
