"""`judge`: the verdict on one event at each stage of a query, down to each leaf and each value of an array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from runner.engine.filter.field_tests import ValueTest
from runner.engine.filter.value_tests import value_test_for
from runner.engine.plan import Plan, Stage
from runner.engine.sequence.join_keys import key_reader
from runner.eql.explain.query_reading import Role, labels, read_leaf, role_of
from runner.eql.explain.unparse import unparse
from runner.events.columns.batch import Columns, EventBatch
from runner.events.documents import flatten
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.fields.values import Canonical, Scalar
from runner.expressions import nodes
from runner.expressions.functions import text_of
from runner.expressions.patterns import lucene_regex, wildcard

_SHORTEST_PART = 3
_MOST_VALUES = 1000
"""Most combinations of array values tried to find the one that decides."""


@dataclass(frozen=True, slots=True)
class FoundValue:
    """The values of a field in the event, and, of several, whether each meets the condition alone."""

    field: str
    values: tuple[Scalar, ...]
    each_met: tuple[bool, ...] = ()
    note: str = ""
    """The reason for a missing value although the document has one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event meets a condition; a leaf has the values found and expected, others have `parts`."""

    text: str
    met: bool
    role: Role
    expected: str = ""
    found: tuple[FoundValue, ...] = ()
    hint: str = ""
    parts: tuple[Verdict, ...] = ()
    error: str = ""
    """The error of evaluating the condition on this event; the whole search then fails."""


@dataclass(frozen=True, slots=True)
class KeyValues:
    """The values of a join key in the event, as the API prints them. `joined` False: the event is left out."""

    name: str
    values: tuple[object, ...]
    joined: bool


@dataclass(frozen=True, slots=True)
class StageVerdict:
    """Whether an event meets a stage. `impossible`: the stage's condition is constantly false."""

    label: str
    met: bool
    conditions: tuple[Verdict, ...]
    keys: tuple[KeyValues, ...]
    impossible: bool = False
    problem: str = ""
    excepted: tuple[str, ...] = ()
    """What has kept the event from the stage that it meets otherwise."""


@dataclass(frozen=True, slots=True)
class EventVerdict:
    """The verdicts on one event at every stage; `time` in nanoseconds since 1970, None if it is not readable."""

    time: int | None
    stages: tuple[StageVerdict, ...]


class Judge:
    """Judges events against one plan. `now_ns` is what `now` means in date math."""

    def __init__(self, plan: Plan, *, now_ns: int) -> None:
        self._plan = plan
        self._now_ns = now_ns
        self._columns = Columns(plan.fields())
        self._leaves: dict[int, ValueTest] = {}

    def judge(self, document: Mapping[str, Any]) -> EventVerdict:
        """The verdicts on one document (the content of `_source`)."""
        row = self._columns.decoder.row(document)
        batch = EventBatch(self._columns, [row], base=0)
        values = {name: batch.values(name, batch.all_rows())[0] for name in self._columns.fields}
        time = int(batch.timestamps(self._plan.timestamp.name)[0])
        event = _Event(values, flatten(document))
        stages = tuple(
            self._stage(stage, label, event, timed=time != NO_TIME)
            for stage, label in zip(self._plan.all_stages(), labels(self._plan), strict=True)
        )
        return EventVerdict(None if time == NO_TIME else time, stages)

    def _stage(self, stage: Stage, label: str, event: _Event, *, timed: bool) -> StageVerdict:
        conditions = tuple(self._verdict(conjunct, event) for conjunct in stage.conjuncts)
        keys = tuple(self._key(key, event) for key in stage.keys)
        problem = ""
        if self._plan.kind == "sequence" and not timed:
            problem = f"no readable value in {self._plan.timestamp.name}: it takes no part in sequences"
        met = not stage.empty and all(condition.met for condition in conditions)
        met = met and all(key.joined for key in keys) and not problem
        return StageVerdict(label, met, conditions, keys, stage.empty, problem)

    def _key(self, key: nodes.FieldRef | None, event: _Event) -> KeyValues:
        if key is None:
            return KeyValues("null", (None,), True)
        reader = key_reader(key.exact)
        read = reader.read(event.values[key.exact.name])
        shown = tuple(reader.show(value, self._plan.kind == "sample") for value in read)
        if not shown and key.optional:
            shown = (None,)
        return KeyValues(unparse(key), shown, bool(shown))

    def _verdict(self, expression: nodes.Expression, event: _Event) -> Verdict:
        text = unparse(expression)
        if isinstance(expression, nodes.Not):
            part = self._verdict(expression.operand, event)
            return Verdict(text, not part.met and not part.error, "not", parts=(part,), error=part.error)
        if isinstance(expression, (nodes.And, nodes.Or)):
            parts = tuple(self._verdict(operand, event) for operand in expression.operands)
            decisive = isinstance(expression, nodes.Or)
            met = any(part.met for part in parts) if decisive else all(part.met for part in parts)
            return Verdict(text, met, role_of(expression), parts=parts)
        return self._leaf(expression, text, event)

    def _leaf(self, expression: nodes.Expression, text: str, event: _Event) -> Verdict:
        leaf = self._leaves.get(id(expression))
        if leaf is None:
            leaf = self._leaves[id(expression)] = value_test_for(expression, self._now_ns)
        reading = read_leaf(expression)
        given = [event.values[field.name] for field in leaf.fields]
        try:
            met, error = leaf.test(*given), ""
        except ValueError as failure:
            met, error = False, str(failure)
        found = tuple(_found(field, event, leaf) for field in dict.fromkeys(leaf.fields))
        hint = "" if error else _hint(expression, given, met=met)
        if met and not hint and len(leaf.fields) > 1 and any(isinstance(value, tuple) for value in given):
            hint = _deciding(leaf, given)
        return Verdict(
            text,
            met,
            "leaf",
            expected=", ".join(filter(None, (reading.asks, reading.case))),
            found=found,
            hint=hint,
            error=error,
        )


@dataclass(frozen=True, slots=True)
class _Event:
    """One event: its canonical values by field, and everything that the document holds by path."""

    values: Mapping[str, Canonical]
    raw: Mapping[str, Sequence[Any]]


def _found(field: Field, event: _Event, leaf: ValueTest) -> FoundValue:
    values = _several(event.values[field.name])
    if not values:
        return FoundValue(field.name, (), note=_unread(field, event))
    each: tuple[bool, ...] = ()
    if len(values) > 1 and len(leaf.fields) == 1:
        each = tuple(_alone(leaf, value) for value in values)
    return FoundValue(field.name, values, each)


def _several(value: Canonical) -> tuple[Scalar, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _alone(leaf: ValueTest, value: Scalar) -> bool:
    try:
        return leaf.test(value)
    except ValueError:
        return False


def _unread(field: Field, event: _Event) -> str:
    """The reason why a field has no value although the document has one; empty if it has none."""
    held = [value for value in event.raw.get(field.source_path, ()) if value is not None]
    if not held:
        below = f"{field.source_path}."
        return "the document has an object there" if any(path.startswith(below) for path in event.raw) else ""
    shown = text_of(held[0]) if isinstance(held[0], (str, int, float)) else str(held[0])
    if field.ignore_above is not None and len(shown) > field.ignore_above:
        return f"the document's value has more than {field.ignore_above} characters (ignore_above)"
    return f"the document has {shown[:100]!r} there, which is no {field.type.value}"


def _deciding(leaf: ValueTest, given: Sequence[Canonical]) -> str:
    """The combination of array values that makes a script true, in words."""
    choices = [_several(value) or (None,) for value in given]
    for combination in islice(product(*choices), _MOST_VALUES):
        try:
            if leaf.test(*combination):
                return "true for " + ", ".join(
                    f"{field.name} = {text_of(value)}" for field, value in zip(leaf.fields, combination, strict=True)
                )
        except ValueError:
            continue
    return ""


# Hints: probable intentions where a leaf nearly matches.


def _hint(expression: nodes.Expression, given: Sequence[Canonical], *, met: bool) -> str:
    texts = [value for item in given for value in _several(item) if isinstance(value, str)]
    if met or not texts:
        return ""
    match expression:
        case nodes.Comparison(_, "==", nodes.FieldRef(), nodes.Constant(value=str() as constant)):
            return _exact_hint(texts, [constant], instead=":")
        case nodes.Membership(_, nodes.FieldRef(), items, False):
            constants = [
                item.value for item in items if isinstance(item, nodes.Constant) and isinstance(item.value, str)
            ]
            return _exact_hint(texts, constants, instead="in~")
        case nodes.Pattern(_, operator, nodes.FieldRef(), patterns):
            given_patterns = [text_of(pattern.value) for pattern in patterns if pattern.value is not None]
            if operator.startswith("regex"):
                return _regex_hint(texts, given_patterns, insensitive=operator.endswith("~"))
            return _wildcard_hint(texts, given_patterns, operator)
        case nodes.Call(
            _, ("startswith" | "endswith" | "stringcontains") as name, (_, nodes.Constant(value=str() as needle)), False
        ):
            folded, wanted = [wildcard.fold(text) for text in texts], wildcard.fold(needle)
            test = {"startswith": str.startswith, "endswith": str.endswith}.get(name, str.__contains__)
            if any(test(text, wanted) for text in folded):
                return f"it differs in case only: {name}~ ignores case"
    return ""


def _exact_hint(texts: Sequence[str], constants: Sequence[str], *, instead: str) -> str:
    wanted = {wildcard.fold(constant) for constant in constants}
    if any(wildcard.fold(text) in wanted for text in texts):
        return f"it differs in case only: `{instead}` ignores case"
    wanted = {constant.strip() for constant in constants}
    if any(text.strip() in wanted for text in texts):
        return "it differs in blanks at the ends only"
    wild = [constant for constant in constants if "*" in constant or "?" in constant]
    if wild and any(map(wildcard.any_matcher(wild, True), texts)):
        return "`*` and `?` are literal here: `:` and `like` take them for wildcards"
    return ""


def _wildcard_hint(texts: Sequence[str], patterns: Sequence[str], operator: str) -> str:
    if operator == "like" and any(map(wildcard.any_matcher(patterns, True), texts)):
        return "it differs in case only: `:` and `like~` ignore case"
    inner = [f"*{pattern}*" for pattern in patterns if len(pattern) >= _SHORTEST_PART]
    if inner and any(map(wildcard.any_matcher(inner, True), texts)):
        return "a part of the value fits, but the whole value must: `*` stands for the rest"
    return ""


def _regex_hint(texts: Sequence[str], patterns: Sequence[str], *, insensitive: bool) -> str:
    try:
        if not insensitive and any(map(lucene_regex.matcher(patterns, True), texts)):
            return "it differs in case only: `regex~` ignores case"
        bare = [pattern.removeprefix("^").removesuffix("$") for pattern in patterns]
        if bare != list(patterns) and any(map(lucene_regex.matcher(bare, insensitive), texts)):
            return "`^` and `$` are ordinary characters here: leave them out, the whole value must fit anyway"
        inner = [f".*({pattern}).*" for pattern in bare if len(pattern) >= _SHORTEST_PART]
        if not inner:
            return ""
        if any(map(lucene_regex.matcher(inner, insensitive), texts)):
            return "a part of the value fits, but the whole value must: `.*` stands for the rest"
    except ValueError:
        return ""  # the changed expression is too large to try; the verdict stands without a hint
    return ""
