"""`Funnel`: the count of events left after each condition of a query's stages, fed batch by batch like a matcher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from runner.engine.filter.value_tests import value_test_for
from runner.engine.matcher import Ask, Matcher
from runner.engine.plan import Plan, Stage
from runner.engine.sequence.join_keys import KeyReader, key_reader
from runner.engine.sequence.sequence_matcher import Key, StageEvent
from runner.eql.explain.query_reading import labels
from runner.eql.explain.unparse import unparse
from runner.events.columns.batch import EventBatch, Rows
from runner.events.fields.schema import DataType
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.fields.values import Canonical
from runner.expressions import nodes
from runner.messages.text_positions import Span

_MOST_DISTINCT = 5000
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One condition of a stage, with the counts of events that reached and that passed it.

    `common` are the most frequent values of its field if no event passed. `error` is the evaluation error.
    """

    text: str
    came: int
    passed: int
    field: str = ""
    common: tuple[tuple[Canonical, int], ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class StageFunnel:
    """The steps of one stage in the order of the query's text; `events` were read, `left` can stand at the stage."""

    label: str
    events: int
    left: int
    steps: tuple[FunnelStep, ...]


@dataclass(frozen=True, slots=True)
class KeyStep:
    """The count of join keys of one stage of a sample, and of those that all stages up to it share."""

    label: str
    keys: int
    shared: int


class _Counting:
    """A condition with its counts so far."""

    def __init__(self, text: str, condition: Condition | None = None) -> None:
        self.text = text
        self.condition = condition
        self.came = 0
        self.passed = 0
        self.error = ""
        self.values: Counter[Canonical] = Counter()

    def step(self) -> FunnelStep:
        common = () if self.passed else tuple(self.values.most_common(_SHOWN))
        field = self.condition.fields[0] if common and self.condition is not None else ""
        return FunnelStep(self.text, self.came, self.passed, field, common, self.error)

    def passing(self, batch: EventBatch, rows: Rows) -> Rows:
        """The rows that meet the condition; counts them."""
        assert self.condition is not None
        self.came += len(rows)
        columns = [batch.values(name, rows) for name in self.condition.fields]
        try:
            met = [place for place, values in enumerate(zip(*columns, strict=True)) if self.condition.test(*values)]
        except ValueError as error:
            self.error = self.error or str(error)
            return rows[:0]
        self.passed += len(met)
        if not self.passed and len(columns) == 1 and len(self.values) < _MOST_DISTINCT:
            self.values.update(columns[0])
        return rows[met]


@dataclass(frozen=True, slots=True)
class Condition:
    """A boolean expression as a function of the values of its fields, in the order of `fields`; raises ValueError."""

    fields: tuple[str, ...]
    test: Callable[..., bool]


def condition_for(expression: nodes.Expression, now_ns: int) -> Condition:
    """A checked, simplified condition in plain form; a decision by the values of a lone field is kept."""
    read: dict[str, bool] = {}
    test = _test(expression, now_ns, read)
    names = tuple(read)
    if len(names) != 1 or not read[names[0]]:
        return Condition(names, lambda *values: test(dict(zip(names, values, strict=True))))
    known: dict[Canonical, bool] = {}

    def look_up(value: Canonical) -> bool:
        met = known.get(value)
        if met is None:
            met = test({names[0]: value})
            if len(known) < _MOST_DISTINCT:
                known[value] = met
        return met

    return Condition(names, look_up)


def _test(
    expression: nodes.Expression, now_ns: int, read: dict[str, bool]
) -> Callable[[Mapping[str, Canonical]], bool]:
    """The test of a condition; adds to `read` the fields that it needs, and whether equal values give equal results."""
    if isinstance(expression, nodes.Not):
        inner = _test(expression.operand, now_ns, read)
        return lambda values: not inner(values)
    if isinstance(expression, (nodes.And, nodes.Or)):
        parts = [_test(operand, now_ns, read) for operand in expression.operands]
        either = any if isinstance(expression, nodes.Or) else all
        return lambda values: either(part(values) for part in parts)
    leaf = value_test_for(expression, now_ns)
    names = [field.name for field in leaf.fields]
    for field in leaf.fields:
        # Without a type, 1, 1.0 and true stand side by side, which are equal in Python and differ in EQL.
        read[field.name] = read.get(field.name, True) and field.type is not DataType.NULL
    return lambda values: leaf.test(*(values[name] for name in names))


class Funnel:
    """Counts the events that pass each condition of a plan, and keeps those of its stages.

    `now_ns` is what `now` means in date math.
    """

    def __init__(self, plan: Plan, *, now_ns: int) -> None:
        self._plan = plan
        self._events = 0
        self._stages = [_StageCount(plan, stage, place, now_ns) for place, stage in enumerate(plan.all_stages())]
        self._order = Matcher([Ask(_any_stage(plan), now_ns=now_ns)])

    def feed(self, batch: EventBatch) -> None:
        """Take in the next batch."""
        self._events += len(batch)
        for stage in self._stages:
            stage.feed(batch)
        if self._plan.kind == "sequence":
            self._order.feed(batch)

    def stages(self) -> tuple[StageFunnel, ...]:
        """The counts of each stage."""
        names = labels(self._plan)
        return tuple(
            StageFunnel(label, self._events, stage.left, tuple(counting.step() for counting in stage.counted()))
            for label, stage in zip(names, self._stages, strict=True)
        )

    def key_steps(self) -> tuple[KeyStep, ...]:
        """The join keys of each stage, and those that are left after it."""
        steps = []
        shared: set[Key] | None = None
        for label, stage in zip(labels(self._plan), self._stages, strict=True):
            keys = {event.key for event in stage.found}
            shared = keys if shared is None else shared & keys
            steps.append(KeyStep(label, len(keys), len(shared)))
        return tuple(steps)

    def groups(self) -> list[list[StageEvent]]:
        """The stage events of a sequence, those of one event together, in ascending order of events."""
        by_event: dict[int, list[StageEvent]] = {}
        for stage in self._stages:
            for event in stage.found:
                by_event.setdefault(event.event, []).append(event)
        (order,) = self._order.found()
        ranked = [number for match in order.matches for number in match.events if number is not None]
        return [by_event[number] for number in ranked if number in by_event]


class _StageCount:
    """One stage: its conditions with their counts, and the events that met all of them."""

    def __init__(self, plan: Plan, stage: Stage, place: int, now_ns: int) -> None:
        self._plan = plan
        self._stage = stage
        self._place = place
        self._steps = [_Counting(unparse(conjunct), condition_for(conjunct, now_ns)) for conjunct in stage.conjuncts]
        self._timed = _Counting(f"has a readable {plan.timestamp.name}")
        names = [unparse(key) for key in stage.keys if key is not None and not key.optional]
        self._joined = _Counting(f"has a value of {', '.join(names)}" if names else "")
        self._readers: tuple[KeyReader | None, ...] = tuple(
            None if key is None else key_reader(key.exact) for key in stage.keys
        )
        self.left = 0
        self.found: list[StageEvent] = []

    def feed(self, batch: EventBatch) -> None:
        rows = batch.all_rows()[:0] if self._stage.empty else batch.all_rows()
        for step in self._steps:
            rows = step.passing(batch, rows)
        times = batch.timestamps(self._plan.timestamp.name)
        if self._plan.kind == "sequence":
            self._timed.came += len(rows)
            rows = rows[times[rows] != NO_TIME]
            self._timed.passed += len(rows)
        if self._plan.kind == "event":
            self.left += len(rows)
            return
        columns = [None if key is None else batch.values(key.exact.name, rows) for key in self._stage.keys]
        self._joined.came += len(rows)
        for row, number in enumerate(rows.tolist()):
            keys = self._keys([None if column is None else column[row] for column in columns])
            self._joined.passed += bool(keys)
            self.found.extend(StageEvent(int(times[number]), batch.base + number, self._place, key) for key in keys)
        self.left = self._joined.passed

    def _keys(self, values: Sequence[Canonical]) -> tuple[Key, ...]:
        """Every combination of join key values; none if a mandatory key has no value."""
        choices: list[Sequence[object]] = []
        for ref, reader, value in zip(self._stage.keys, self._readers, values, strict=True):
            read = () if reader is None else reader.read(value)
            if not read and ref is not None and not ref.optional:
                return ()
            choices.append(read or (None,))
        return tuple(product(*choices))

    def counted(self) -> list[_Counting]:
        """The steps to show; that of the timestamp only if it excludes events."""
        timed = [self._timed] if self._timed.passed < self._timed.came else []
        joined = [self._joined] if self._joined.text else []
        return [*self._steps, *timed, *joined]


def _any_stage(plan: Plan) -> Plan:
    """An event query for the events of all stages, which a matcher returns in the order of sequences."""
    nowhere = Span(0, 0)
    conditions: list[nodes.Expression] = []
    for stage in plan.all_stages():
        if not stage.empty:
            both = stage.conjuncts
            if not both:
                return replace(plan, kind="event", stages=(Stage(()),), until=None, limits=())
            conditions.append(both[0] if len(both) == 1 else nodes.And(nowhere, both))
    stages = (Stage((nodes.Or(nowhere, tuple(conditions)),)),) if conditions else (Stage((), empty=True),)
    return replace(plan, kind="event", stages=stages, until=None, limits=())
