"""What exceptions do to an explained query, and to the events that are explained one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runner.cli.pages.explain_page import ExplainedException
from runner.engine.plan import Plan
from runner.eql.explain.event_verdict import EventVerdict, StageVerdict
from runner.eql.explain.funnel import StageFunnel
from runner.exceptions.item import ExceptionItem
from runner.exceptions.item_verdict import ItemVerdict, item_label, judge_item, nearest_item
from runner.expressions import nodes
from runner.search.files.excepted_answer import ExceptedAnswer

_PASSED = "no exception hits it"


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """The verdict on an event with exceptions, those that hit it, and the nearest one if none does."""

    verdict: EventVerdict
    exceptions: tuple[ExplainedException, ...] = ()
    nearest: ExplainedException | None = None


class ExplainedExceptions:
    """The exceptions of a query. `now_ns` is what `now` in date math means."""

    def __init__(self, items: Sequence[ExceptionItem], left_out: ExceptedAnswer, now_ns: int) -> None:
        self._items, self._left_out, self._now_ns = items, left_out, now_ns

    def listed(self) -> tuple[ExplainedException, ...]:
        """Each with what it has left out."""
        counts = self._left_out.events + self._left_out.matches
        return tuple(_explained(item, left_out=counts[item]) for item in self._items)

    def named(self, stages: Sequence[StageFunnel], bare: Plan) -> tuple[StageFunnel, ...]:
        """The stages; the step after the conditions of the query, which is that of the exceptions, says what it is."""
        condition, named = self._left_out.of_events.condition, []
        has_condition = condition is not None and not isinstance(condition, nodes.Constant)
        for funnel, stage in zip(stages, bare.all_stages(), strict=True):
            place = len(stage.conjuncts)
            steps = [
                replace(step, text=_PASSED, field="", common=()) if has_condition and number == place else step
                for number, step in enumerate(funnel.steps)
            ]
            named.append(replace(funnel, steps=tuple(steps)))
        return tuple(named)

    def judged(self, verdict: EventVerdict, document: Mapping[str, Any]) -> JudgedEvent:
        """The verdict on a document without exceptions, and what they make of it: stages that it does not meet."""
        if not self._items:
            return JudgedEvent(verdict)
        schema = self._left_out.of_events.schema
        both = (self._left_out.of_events, self._left_out.of_alerts)
        sound = [item for resolved in both for item in resolved.items]
        hit = {item for resolved in both for item in resolved.items_for(document, self._now_ns)}
        found = [judge_item(item, schema, document, now_ns=self._now_ns) for item in sound if item in hit]
        texts = tuple(_text(one) for one in found if one.item.scope == "event")
        stages = tuple(_excepted(stage, texts) if texts and stage.met else stage for stage in verdict.stages)
        nearest = None
        if not found and any(stage.met for stage in stages):
            nearest = nearest_item(sound, schema, document, now_ns=self._now_ns)
        near = nearest if nearest is not None and len(nearest.unmet) < len(nearest.conditions) else None
        shown = tuple(map(_shown, found))
        return JudgedEvent(EventVerdict(verdict.time, stages), shown, None if near is None else _shown(near))


def _excepted(stage: StageVerdict, texts: tuple[str, ...]) -> StageVerdict:
    return replace(stage, met=False, excepted=texts)


def _text(verdict: ItemVerdict) -> str:
    return f"excepted by {item_label(verdict.item)}: {verdict.reason()}"


def _shown(verdict: ItemVerdict) -> ExplainedException:
    return _explained(verdict.item, reason=verdict.reason())


def _explained(item: ExceptionItem, *, left_out: int = 0, reason: str = "") -> ExplainedException:
    place = item.place
    return ExplainedException(
        item.name, str(place.file), place.line, item.scope, item_label(item), left_out=left_out, reason=reason
    )
