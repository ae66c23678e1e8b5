"""The reason for a missing alert: the first condition that one of its events does not meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.alerts.event_fields import value_at
from runner.engine.plan import Plan
from runner.eql.explain.event_verdict import Judge, StageVerdict, Verdict
from runner.rule_tests.case import ExpectedAlert
from runner.rules.model_errors import shortened


def reasons(
    plan: Plan, expected: ExpectedAlert, documents: Iterable[Mapping[str, Any]], *, now_ns: int
) -> tuple[str, ...]:
    """The reasons why expected events do not meet their stages, a sentence each; none if all do.

    Only events among `documents` are checked, and only if there are as many as the query has stages.
    """
    by_id = {str(value_at(document, "event.id")): document for document in documents}
    places = [place for place, stage in enumerate(plan.stages) if not stage.missing]
    is_counted = plan.kind == "event" and len(expected.events) > 1  # by a threshold rule
    if is_counted:
        places = places * len(expected.events)
    if len(places) != len(expected.events):
        return ()
    judge = Judge(plan, now_ns=now_ns)
    found: list[str] = []
    for place, event_id in zip(places, expected.events, strict=True):
        if event_id not in by_id:
            continue
        verdict = judge.judge(by_id[event_id]).stages[place]
        if not verdict.met:
            name = "the query" if plan.kind == "event" else f"stage {place + 1}"
            found.append(f"event {event_id} does not meet {name}: {stage_reason(verdict)}")
    if not found and is_counted and all(event in by_id for event in expected.events):
        found.append("each event meets the query: look at the threshold's fields, its value and cardinality")
    if not found and plan.kind == "sequence" and all(event in by_id for event in expected.events):
        found.append("each event meets its stage: look at their join keys, their order, maxspan and until")
    return tuple(found)


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
