"""The reasons for a missing alert: the conditions that its events do not meet, or what keeps them from being one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.alerts.event_fields import value_at
from runner.engine.plan import Plan
from runner.eql.explain.event_verdict import Judge, StageVerdict, Verdict
from runner.rule_tests.unjoined import TestedEvent, unjoined
from runner.rules.model_errors import shortened

_MOST_JUDGED = 2_000
"""Events of a test that are looked at."""


@dataclass(frozen=True, slots=True)
class MissingReasons:
    """Why an alert is missing, a sentence each, and the verdict on each of its events at its stage."""

    reasons: tuple[str, ...] = ()
    verdicts: tuple[tuple[str, StageVerdict], ...] = ()


def missing_reasons(
    plan: Plan, expected: Sequence[str], documents: Iterable[Mapping[str, Any]], *, now_ns: int
) -> MissingReasons:
    """Why events, by their ids in the order of the stages, make no alert; without ids why none of all events do.

    Only events among `documents` are judged, and only if there are as many as the query has stages.
    """
    judge = Judge(plan, now_ns=now_ns)
    events: dict[str, TestedEvent] = {}
    for number, document in zip(range(1, _MOST_JUDGED + 1), documents, strict=False):
        id_ = value_at(document, "event.id")
        name = f"number {number}" if id_ is None else str(id_)
        events[name] = TestedEvent(name, judge.judge(document))
    places = [place for place, stage in enumerate(plan.stages) if not stage.missing]
    if not expected:
        return _nearest(plan, places, list(events.values()))
    is_counted = plan.kind == "event" and len(expected) > 1  # by a threshold rule
    if is_counted:
        places = places * len(expected)
    if len(places) != len(expected):
        text = f"an alert of this rule has {len(places)} events, one for each stage; expected are {len(expected)}"
        return MissingReasons((text,))
    given = [(place, events[name]) for place, name in zip(places, expected, strict=True) if name in events]
    verdicts = tuple((event.name, event.verdict.stages[place]) for place, event in given)
    unmet = tuple(
        f"event {name} does not meet {_label(plan, place)}: {stage_reason(verdict)}"
        for (place, _), (name, verdict) in zip(given, verdicts, strict=True)
        if not verdict.met
    )
    if unmet or len(given) < len(expected) or (plan.kind == "event" and not is_counted):
        return MissingReasons(unmet, verdicts)
    if is_counted:
        return MissingReasons(
            ("each event meets the query: look at the threshold's fields, its value and cardinality",), verdicts
        )
    found = tuple(unjoined(plan, [event for _, event in given], list(events.values())))
    return MissingReasons(found, verdicts)


def _nearest(plan: Plan, places: Sequence[int], events: Sequence[TestedEvent]) -> MissingReasons:
    """Why no events at all make an alert: the stages that none meets, else what keeps those that do apart."""
    reasons: list[str] = []
    verdicts: list[tuple[str, StageVerdict]] = []
    chain: list[TestedEvent] = []
    for place in places if events else ():
        met = [event for event in events if event.verdict.stages[place].met]
        if met:
            later = [event for event in met if not chain or event.time() > chain[-1].time()]
            chain.append((later or met)[0])
            continue
        event = min(events, key=lambda one: _distance(one.verdict.stages[place]))
        verdict = event.verdict.stages[place]
        verdicts.append((event.name, verdict))
        reasons.append(f"no event meets {_label(plan, place)}; of the nearest, {event.name}: {stage_reason(verdict)}")
    if not reasons and chain and plan.kind != "event":
        names = ", ".join(event.name for event in chain)
        reasons = [f"of the nearest events, {names}: {reason}" for reason in unjoined(plan, chain, events)]
        verdicts = [(event.name, event.verdict.stages[place]) for event, place in zip(chain, places, strict=True)]
    return MissingReasons(tuple(reasons), tuple(verdicts))


def _distance(verdict: StageVerdict) -> int:
    """How many conditions and keys of a stage an event lacks."""
    return sum(not part.met for part in verdict.conditions) + sum(not key.joined for key in verdict.keys)


def _label(plan: Plan, place: int) -> str:
    return "the query" if plan.kind == "event" else f"stage {place + 1}"


def stage_reason(verdict: StageVerdict) -> str:
    """Why an event does not meet a stage."""
    if verdict.impossible:
        return "no event can meet it"
    if verdict.problem:
        return verdict.problem
    for key in verdict.keys:
        if not key.joined:
            return f"it has no value of the join key {key.name}"
    return "; ".join(_leaf(part) for part in verdict.conditions if not part.met)


def _leaf(verdict: Verdict) -> str:
    """The unmet condition with what the event has; of an `and` the first unmet part."""
    inner = next((part for part in verdict.parts if not part.met), None)
    if verdict.role == "and" and inner is not None:
        return _leaf(inner)
    text = shortened(verdict.text, 200)
    if verdict.error:
        return f"{text} failed: {verdict.error}"
    values = [f"{value.field} = {_shown(value.values)}" for value in verdict.found]
    return f"{text} (found {', '.join(values)})" if values else text


def _shown(values: Sequence[object]) -> str:
    if not values:
        return "no value"
    text = ", ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in values)
    return shortened(text, 120)
