"""`IndicatorTable`: the indicators of a rule by the values that events are compared with (a hash join)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.events.columns.row_decoder import RowDecoder
from runner.events.fields.schema import Field
from runner.events.fields.values import Canonical, Scalar
from runner.expressions import nodes
from runner.expressions.functions import text_of
from runner.expressions.truths import Truth, all_of, any_of, field_ref, has_value
from runner.expressions.value_sets import LookupKey, has_spans, key_of_value, listed_key, listed_span, set_of_spans
from runner.messages.text_positions import Span
from runner.search.indicators.pairs import FieldPair, PairGroup

_NOWHERE = Span(0, 0)
MOST_ENRICHMENTS = 200
"""Most indicators that an alert shows, as in Kibana."""


@dataclass(frozen=True, slots=True)
class IndicatorMatch:
    """An indicator, by its number, and the values of an event's field and of its own that are equal."""

    number: int
    field: str
    """The event's field, as the rule names it."""
    value: Scalar
    """The event's value."""


class ValueIndex:
    """The numbers of the indicators by the values of one of their fields, compared as an event's field is."""

    def __init__(self, event: Field) -> None:
        self.field = event
        self._spans = has_spans(event)
        self._read = None if self._spans else listed_key(event)
        self._read_span = listed_span(event) if self._spans else None
        self._key = key_of_value(event)
        self._exact: dict[LookupKey, int | list[int]] = {}
        self._blocks: dict[int, dict[int, list[int]]] = {}
        """Blocks of addresses by their size, then by their first number: one look-up for each size."""
        self._spans_between: dict[tuple[int, int], list[int]] = {}
        """Other spans of more than one number, by the first and the last one."""
        self.texts: dict[str, None] = {}
        """The values as they are written."""
        self.unreadable = 0
        """Values that the event's field could not have."""

    def __len__(self) -> int:
        return len(self._exact) + sum(map(len, self._blocks.values())) + len(self._spans_between)

    @property
    def spans(self) -> int:
        """How many of the values stand for many others."""
        return len(self) - len(self._exact)

    def add(self, number: int, values: Iterable[Scalar]) -> None:
        """Add an indicator with its values."""
        for value in values:
            text = text_of(value)
            try:
                if self._read is not None:
                    key: LookupKey = self._read(text)
                else:
                    assert self._read_span is not None
                    first, last = self._read_span(text)
                    if first != last:
                        self._add_span(first, last, number)
                        self.texts[text] = None
                        continue
                    key = first
            except (ValueError, OverflowError):
                self.unreadable += 1
                continue
            self.texts[text] = None
            known = self._exact.setdefault(key, number)
            if isinstance(known, list):
                known.append(number)
            elif known != number:
                self._exact[key] = [known, number]

    def numbers(self, value: Scalar) -> Iterator[int]:
        """The indicators that have an event's value, or a block with it."""
        try:
            key = self._key(value)
        except (ValueError, OverflowError):
            return
        found = self._exact.get(key)
        if found is not None:
            yield from found if isinstance(found, list) else (found,)
        if isinstance(key, int):
            for size, blocks in self._blocks.items():
                yield from blocks.get(key & -size, ())
            for (start, end), numbers in self._spans_between.items():
                if start <= key <= end:
                    yield from numbers

    def _add_span(self, first: int, last: int, number: int) -> None:
        size = last - first + 1
        if size & (size - 1) == 0 and first % size == 0:
            self._blocks.setdefault(size, {}).setdefault(first, []).append(number)
        else:
            self._spans_between.setdefault((first, last), []).append(number)

    def value_set(self) -> nodes.ValueSet:
        """All of the values, for the engine."""
        texts = tuple(self.texts)
        if not self._spans:
            return nodes.ValueSet(texts, frozenset(self._exact))
        spans = [(key, key) for key in self._exact if isinstance(key, int)]
        spans += [(first, first + size - 1) for size, blocks in self._blocks.items() for first in blocks]
        return set_of_spans(texts, [*spans, *self._spans_between])


class IndicatorTable:
    """The indicators that a rule takes at one time, and its mapping over them."""

    def __init__(self, groups: Sequence[PairGroup]) -> None:
        self.groups = tuple(groups)
        self.count = 0
        """How many indicators there are with values of the fields of a group."""
        self._indices: dict[tuple[str, Field], ValueIndex] = {}
        self._able: dict[PairGroup, set[int]] = {group: set() for group in self.groups if group.differing}
        """Of groups with fields that must differ: the indicators that have values of all of them."""
        for group in self.groups:
            for pair in group.pairs:
                self._indices.setdefault(_index_key(pair), ValueIndex(pair.event))
        self._filled = [
            (
                tuple({pair.indicator.name for pair in group.pairs}),
                [(pair.indicator.name, self._indices[_index_key(pair)]) for pair in group.pairs],
                self._able.get(group),
            )
            for group in self.groups
        ]
        """Of each group the fields that an indicator must have, the index of each, and who has them all."""
        self._condition: Truth | None = None
        self._reader = RowDecoder(self.event_fields())
        self._gather = {name: self._reader.gatherer(name) for name in self._reader.fields}

    def event_fields(self) -> list[Field]:
        """The fields of events that are compared, each once."""
        return list(dict.fromkeys(pair.event for group in self.groups for pair in group.pairs))

    def indicator_fields(self) -> list[Field]:
        """The fields of indicators that are compared, each once."""
        return list(dict.fromkeys(pair.indicator for group in self.groups for pair in group.pairs))

    def add(self, number: int, values: Mapping[str, Canonical]) -> bool:
        """Add an indicator with the values of its fields by name; False if it has not all of any group."""
        added: set[int] = set()  # an index that groups share takes an indicator once
        is_able = False
        for names, indices, able in self._filled:
            if any(values[name] in (None, ()) for name in names):
                continue
            is_able = True
            if able is not None:
                able.add(number)
            for name, index in indices:
                if id(index) not in added:
                    added.add(id(index))
                    index.add(number, _scalars(values[name]))
        self.count += is_able
        self._condition = None
        return is_able

    def condition(self) -> Truth:
        """What every event that an indicator matches meets: exactly those, if no group has several entries.

        The same object until another indicator is added, so that the engine knows it again.
        """
        if self._condition is None:
            self._condition = self._joined()
        return self._condition

    def _joined(self) -> Truth:
        sets = {key: index.value_set() for key, index in self._indices.items() if len(index)}
        parts: list[Truth] = []
        for group in self.groups:
            found = [sets.get(_index_key(pair)) for pair in group.matching]
            if None in found:
                continue
            listed: list[Truth] = [
                nodes.Listed(_NOWHERE, field_ref(pair.event, _NOWHERE), one)
                for pair, one in zip(group.matching, found, strict=True)
                if one is not None
            ]
            listed += [has_value(field_ref(pair.event, _NOWHERE)) for pair in group.differing]
            parts.append(all_of(listed, _NOWHERE))
        return any_of(parts, _NOWHERE)

    def presence(self) -> Truth:
        """What every event that an indicator may match meets, whatever the indicators are: it has the fields."""
        groups = [[has_value(field_ref(pair.event, _NOWHERE)) for pair in group.pairs] for group in self.groups]
        return any_of([all_of(parts, _NOWHERE) for parts in groups], _NOWHERE)

    def indicator_presence(self) -> Truth:
        """The same of the indicators."""
        groups = [[has_value(field_ref(pair.indicator, _NOWHERE)) for pair in group.pairs] for group in self.groups]
        return any_of([all_of(parts, _NOWHERE) for parts in groups], _NOWHERE)

    @property
    def values(self) -> int:
        """How many different values the indicators have, and of those that stand for many others each ten times."""
        return sum(len(index) + 9 * index.spans for index in self._indices.values())

    def has_value(self, pair: FieldPair, value: Scalar) -> bool:
        """Whether an indicator has an event's value."""
        return any(True for _ in self._indices[_index_key(pair)].numbers(value))

    def values_of(self, pair: FieldPair) -> int:
        """How many different values the indicators have of a field."""
        return len(self._indices[_index_key(pair)])

    @property
    def is_exact(self) -> bool:
        """Whether every event that meets the condition is matched by an indicator."""
        return all(len(group.pairs) == 1 for group in self.groups)

    @property
    def unreadable(self) -> int:
        """How many values of indicators no event could have, by the type of its field."""
        return sum(index.unreadable for index in self._indices.values())

    def matches(self, document: Mapping[str, Any], most: int = MOST_ENRICHMENTS) -> list[IndicatorMatch]:
        """What of an event, given as the content of `_source`, is equal to which indicator, at most as many."""
        row = self._reader.row(document)
        values = {name: _scalars(gather(row)) for name, gather in self._gather.items()}
        found: dict[tuple[int, str], IndicatorMatch] = {}
        for group in self.groups:
            for one in self._of_group(group, values):
                found.setdefault((one.number, one.field), one)
                if len(found) >= most:
                    return list(found.values())
        return list(found.values())

    def _of_group(self, group: PairGroup, values: Mapping[str, tuple[Scalar, ...]]) -> Iterator[IndicatorMatch]:
        if not all(values[pair.event.name] for pair in group.differing):
            return
        first, *others = group.matching
        rest = [self._equal(pair, values[pair.event.name]) for pair in others]
        unwanted = set[int]()
        for pair in group.differing:
            unwanted.update(self._equal(pair, values[pair.event.name]))
        able = self._able.get(group)
        for number, value in self._equal(first, values[first.event.name]).items():
            if number in unwanted or (able is not None and number not in able):
                continue
            if not all(number in other for other in rest):
                continue
            yield IndicatorMatch(number, first.entry.field, value)
            for pair, other in zip(others, rest, strict=True):
                yield IndicatorMatch(number, pair.entry.field, other[number])

    def _equal(self, pair: FieldPair, values: Sequence[Scalar]) -> dict[int, Scalar]:
        """The indicators with one of the values, by number, and that value."""
        index = self._indices[_index_key(pair)]
        return {number: value for value in reversed(values) for number in index.numbers(value)}


def _index_key(pair: FieldPair) -> tuple[str, Field]:
    """Equal for entries that can share an index: the same values, read as those of fields of one kind."""
    event = pair.event
    return pair.indicator.name, Field("", event.type, formats=event.formats, normalized=event.normalized)


def _scalars(value: Canonical) -> tuple[Scalar, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
