"""`judge_item`: whether an exception hits an event, condition by condition, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.engine.plan import Plan, Stage
from runner.eql.explain.event_verdict import FoundValue, Judge, Verdict
from runner.eql.explain.unparse import string, unparse
from runner.events.fields.schema import DataType, Field, Schema
from runner.exceptions.conditions import ItemRefusedError, item_parts
from runner.exceptions.item import ExceptionEntry, ExceptionItem
from runner.expressions import nodes
from runner.expressions.functions import text_of
from runner.rules.model_errors import shortened

_LONGEST = 120
_SHOWN = 5
"""Values of a condition that are shown."""
_TIME = Field("@timestamp", DataType.DATE)


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """Whether an event meets one condition of an exception, and the values that it has in the condition's fields."""

    text: str
    met: bool
    found: tuple[FoundValue, ...] = ()
    is_exact: bool = False
    """The condition names the one value that meets it."""

    def __str__(self) -> str:
        """The condition, with the values where it does not name them."""
        if self.met and self.is_exact and all(len(one.values) == 1 for one in self.found):
            return self.text
        if len(self.found) == 1:
            return f"{self.text} (found {_values(self.found[0].values)})"
        having = [f"{one.field} {_values(one.values)}" for one in self.found if one.values or not self.met]
        return f"{self.text} (found {', '.join(having)})" if having else self.text


@dataclass(frozen=True, slots=True)
class ItemVerdict:
    """Whether an exception hits an event. `refused` is why it means nothing for the fields: it then hits none."""

    item: ExceptionItem
    conditions: tuple[ConditionVerdict, ...] = ()
    refused: str = ""

    @property
    def met(self) -> bool:
        return not self.refused and all(one.met for one in self.conditions)

    @property
    def unmet(self) -> tuple[ConditionVerdict, ...]:
        """The conditions that do not hold."""
        return tuple(one for one in self.conditions if not one.met)

    def reason(self) -> str:
        """Why it hits the event: the conditions with what they found; or why not: those that do not hold."""
        if self.refused:
            return f"it removes nothing: {self.refused}"
        if self.met:
            return " and ".join(map(str, self.conditions)) or "it hits every event"
        return f"{'; '.join(map(str, self.unmet))} does not hold"


def item_label(item: ExceptionItem) -> str:
    """The exception's name and place: `"NAME" (file:line)`."""
    return f"{string(shortened(item.name, _LONGEST))} ({item.place.file}:{item.place.line})"


def judge_item(item: ExceptionItem, schema: Schema, document: Mapping[str, Any], *, now_ns: int) -> ItemVerdict:
    """The verdict of an exception on a document (the content of `_source`) with the fields of the schema.

    `now_ns` is what `now` in date math means, in nanoseconds since 1970.
    """
    try:
        parts = item_parts(item, schema)
    except ItemRefusedError as error:
        return ItemVerdict(item, refused=str(error))
    conditions = tuple(part for part in parts if not isinstance(part, bool))
    plan = Plan("event", (Stage(conditions),), None, None, (), _TIME, None)
    verdicts = iter(Judge(plan, now_ns=now_ns).judge(document).stages[0].conditions)
    texts = _texts(item, parts)
    return ItemVerdict(
        item,
        tuple(
            ConditionVerdict(text, part)
            if isinstance(part, bool)
            else ConditionVerdict(text, (verdict := next(verdicts)).met, tuple(_found(verdict)), is_exact)
            for (text, is_exact), part in zip(texts, parts, strict=True)
        ),
    )


def nearest_item(
    items: Iterable[ExceptionItem], schema: Schema, document: Mapping[str, Any], *, now_ns: int
) -> ItemVerdict | None:
    """The verdict of the exception of which fewest conditions do not hold, of several the one with most that do."""
    verdicts = (judge_item(item, schema, document, now_ns=now_ns) for item in items)
    sound = [verdict for verdict in verdicts if not verdict.refused]
    return min(sound, key=lambda one: (len(one.unmet), -len(one.conditions)), default=None)


def _found(verdict: Verdict) -> Iterator[FoundValue]:
    """The values that the leaves of a condition have looked at, each field once."""
    leaves: dict[str, FoundValue] = {}
    todo = [verdict]
    while todo:
        one = todo.pop(0)
        todo = [*one.parts, *todo]
        for found in one.found:
            leaves.setdefault(found.field, found)
    yield from leaves.values()


def _texts(item: ExceptionItem, parts: Sequence[nodes.Expression | bool]) -> list[tuple[str, bool]]:
    """Each condition in words, and whether it names the one value that meets it."""
    if item.where is not None:
        return [(item.where_text if isinstance(part, bool) else unparse(part), False) for part in parts]
    texts = [(entry_text(entry), entry.type == "match" and entry.included) for entry in item.entries]
    return [*texts, (f"the operating system is {' or '.join(item.os)}", True)] if item.os else texts


def entry_text(entry: ExceptionEntry) -> str:
    """An entry in words: `host.name is one of "db-01", "db-02"`."""
    name, negated = entry.field, "" if entry.included else "not "
    case = " in any case" if entry.any_case else ""
    match entry.type:
        case "exists":
            return f"{name} has {'a' if entry.included else 'no'} value"
        case "wildcard":
            return f"{name} is {negated}like {_listed(entry.values)}{case}"
        case "list":
            assert entry.value_list is not None
            where = f"{entry.value_list.id} ({len(entry.value_list.values):,} values)"
            return f"{name} is {negated}in {where if entry.value_list.id else _listed(entry.value_list.values)}"
        case "nested":
            inner = " and ".join(map(entry_text, entry.entries))
            return f"{name} has {'an' if entry.included else 'no'} object where {inner}"
        case "match_any":
            return f"{name} is {'one' if entry.included else 'none'} of {_listed(entry.values)}{case}"
        case "match":
            return f"{name} is {negated}{_listed(entry.values)}{case}"


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return ", ".join(string(shortened(value, _LONGEST)) for value in values[:_SHOWN]) + more


def _values(values: Sequence[object]) -> str:
    if not values:
        return "no value"
    shown = [string(one) if isinstance(one, str) else text_of(one) for one in values[:_SHOWN]]  # type: ignore[arg-type]
    more = f" and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return ", ".join(shortened(one, _LONGEST) for one in shown) + more
