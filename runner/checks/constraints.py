"""`Constraints`: what a conjunction demands of each field, and whether any value can meet all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from runner.events.fields.schema import DataType
from runner.expressions import nodes
from runner.expressions.patterns import wildcard
from runner.expressions.patterns.wildcard import fold

_PROCESS = r"process(?:\.(?:parent|group_leader|session_leader|entry_leader|Ext\.effective_parent))*"
_SINGLE = re.compile(
    rf"{_PROCESS}\.(?:name|executable|pid|entity_id|command_line|args_count|working_directory|title|exit_code)"
    r"|(?:file|dll)\.(?:name|path|extension|directory|size|type|inode|drive_letter)"
    r"|registry\.(?:path|key|value|hive)|host\.(?:id|name|hostname)|host\.os\.(?:type|family|name|platform|version)"
    r"|user\.(?:id|name|domain)|(?:source|destination|client|server)\.(?:ip|port|address|bytes|domain)"
    r"|network\.(?:direction|transport|protocol|type|bytes)|dns\.question\.(?:name|type)"
    r"|event\.(?:outcome|dataset|module|code|provider|kind|severity)|url\.(?:full|original|path|domain|scheme|port)"
    r"|http\.(?:request\.method|response\.status_code)|container\.(?:id|name)|cloud\.account\.id|agent\.(?:id|type)"
)
"""The fields of ECS that hold one value at most: two values can only be demanded of a field that may be a list."""


def is_single(name: str) -> bool:
    """Whether a field holds at most one value in any event."""
    return _SINGLE.fullmatch(name) is not None


Accepts: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Demand:
    """One test of a field: `holds` says whether a text meets it; `values` are the texts that alone do, if listed.

    `any_case`: so does any other spelling of them; `holds_in_any` is the test of all spellings. `low` and `high` are
    the ends of a range of numbers, with whether the end itself is in it.
    """

    field: str
    node: nodes.Expression
    negated: bool = False
    any_case: bool = False
    holds: Accepts | None = None
    holds_in_any: Accepts | None = None
    values: tuple[str, ...] | None = None
    is_null: bool | None = None
    low: tuple[float, bool] | None = None
    high: tuple[float, bool] | None = None

    @property
    def needs_value(self) -> bool:
        """Whether an event without a value of the field cannot meet it; such an event meets the opposite of a test."""
        return self.is_null is False or (self.is_null is None and not self.negated)


@dataclass(slots=True)
class Constraints:
    """The demands of a conjunction, by field."""

    by_field: dict[str, list[Demand]] = field(default_factory=dict)

    def with_all(self, demands: Iterable[Demand]) -> Constraints:
        """These and more."""
        made = Constraints({name: list(known) for name, known in self.by_field.items()})
        for demand in demands:
            made.by_field.setdefault(demand.field, []).append(demand)
        return made

    def contradictions(self) -> Iterator[tuple[Demand, Demand]]:
        """Pairs of demands of which no event meets both, the later one of the text last; one for each field."""
        for name, demands in self.by_field.items():
            pair = _contradiction(demands, single=is_single(name))
            if pair is not None:
                first, last = sorted(pair, key=lambda one: one.node.span.start)
                yield first, last


def _contradiction(demands: Sequence[Demand], *, single: bool) -> tuple[Demand, Demand] | None:
    null = next((one for one in demands if one.is_null is True), None)
    if null is not None:
        for one in demands:
            if one is not null and one.needs_value:
                return null, one
        return None
    if not single:
        return None
    for number, one in enumerate(demands):
        for other in demands[:number]:
            if _exclude(one, other) or _exclude(other, one):
                return other, one
    return None


def _exclude(one: Demand, other: Demand) -> bool:
    """Whether no value meets both, as far as the values of the first one show."""
    if one.low is not None and other.high is not None and _is_empty(one.low, other.high):
        return True
    if one.values is None or one.negated:
        return False
    if other.low is not None or other.high is not None:
        return not any(_in_range(value, other) for value in one.values)
    return not any(_takes(other, value, any_case=one.any_case) for value in one.values)


def _takes(demand: Demand, value: str, *, any_case: bool) -> bool:
    """Whether the value, or with `any_case` some spelling of it, may meet the demand."""
    if demand.holds is None or demand.holds_in_any is None:
        return True
    if not any_case or demand.any_case or value.lower() == value.upper():
        return demand.holds(value) is not demand.negated
    return demand.negated or demand.holds_in_any(value)


def _is_empty(low: tuple[float, bool], high: tuple[float, bool]) -> bool:
    return low[0] > high[0] or (low[0] == high[0] and not (low[1] and high[1]))


def _in_range(text: str, demand: Demand) -> bool:
    """Whether the number of a text may lie in the range; a text that is none may."""
    try:
        value = float(text)
    except ValueError:
        return True
    point = (value, True)
    low_fits = demand.low is None or not _is_empty(demand.low, point)
    return low_fits and (demand.high is None or not _is_empty(point, demand.high))


# From conditions to demands.


def demand_of(node: nodes.Expression, *, negated: bool = False) -> Demand | None:
    """What a test of one field against constants demands; None for any other condition."""
    match node:
        case nodes.Not(operand=operand):
            return demand_of(operand, negated=not negated)
        case nodes.Comparison():
            return _of_comparison(node, negated=negated)
        case nodes.Membership(value=value, items=items, insensitive=insensitive):
            texts = _texts(items)
            name = _name(value)
            if name is None or texts is None:
                return None
            return _listed(name, node, texts, insensitive=insensitive, negated=negated)
        case nodes.Pattern(operator=operator, value=value, patterns=patterns):
            texts, name = _texts(patterns), _name(value)
            if name is None or texts is None or operator.startswith("regex"):
                return None
            return _patterned(name, node, texts, insensitive=operator != "like", negated=negated)
        case nodes.Phrase(value=ref, text=text) if ref.exact.type is DataType.KEYWORD and not ref.exact.normalized:
            return _listed(ref.field.name, node, (text,), insensitive=False, negated=negated)
    return None


def _of_comparison(node: nodes.Comparison, *, negated: bool) -> Demand | None:
    name, constant, operator = _name(node.left), node.right, node.operator
    if name is None:
        name, constant = _name(node.right), node.left
        operator = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(operator, operator)  # type: ignore[assignment]
    if name is None or not isinstance(constant, nodes.Constant):
        return None
    is_equal = (operator == "==") is not negated
    if constant.value is None:
        return Demand(name, node, is_null=is_equal) if operator in ("==", "!=") else None
    if operator in ("==", "!="):
        return _listed(name, node, (_text(constant.value),), insensitive=False, negated=not is_equal)
    if isinstance(constant.value, str):
        return None
    if negated:
        operator = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[operator]  # type: ignore[assignment]
    end = (float(constant.value), operator.endswith("="))
    if operator.startswith(">"):
        return Demand(name, node, negated, low=end)
    return Demand(name, node, negated, high=end)


def _listed(name: str, node: nodes.Expression, texts: tuple[str, ...], *, insensitive: bool, negated: bool) -> Demand:
    known, folded = frozenset(texts), frozenset(map(fold, texts))

    def in_any(value: str) -> bool:
        return fold(value) in folded

    holds = in_any if insensitive else known.__contains__
    return Demand(name, node, negated, insensitive, holds, in_any, None if negated else texts)


def _patterned(
    name: str, node: nodes.Expression, texts: tuple[str, ...], *, insensitive: bool, negated: bool
) -> Demand:
    holds, in_any = wildcard.any_matcher(texts, insensitive), wildcard.any_matcher(texts, True)
    is_plain = not any("*" in text or "?" in text for text in texts)
    return Demand(name, node, negated, insensitive, holds, in_any, texts if is_plain and not negated else None)


def _texts(constants: Iterable[nodes.Expression]) -> tuple[str, ...] | None:
    found = []
    for constant in constants:
        if not isinstance(constant, nodes.Constant) or constant.value is None:
            return None
        found.append(_text(constant.value))
    return tuple(found)


def _text(value: nodes.Value) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(node: nodes.Expression) -> str | None:
    if isinstance(node, nodes.Name):
        return node.name
    return node.field.name if isinstance(node, nodes.FieldRef) else None
