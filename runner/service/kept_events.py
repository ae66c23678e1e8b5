"""`ExceptedKeeper`: keeps the events that exceptions left out, so that someone can look at them later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from runner.alerts.build import AlertContext, build_alerts
from runner.alerts.cap import candidate_for
from runner.errors import RunnerError
from runner.exceptions.item import ExceptionItem
from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.search.protocol import ExceptedEvents, Hit, Match
from runner.service.written import OF_A_DOCUMENT, reason_against
from runner.store.excepted_store import ExceptedStore, KeptEvent

EXCEPTION: Final = "rule_runner.exception"
"""The beginning of the names of the fields that say which exception left an event out, and why."""
_OF_ALERT: Final = frozenset(
    {
        "@timestamp",
        "kibana.alert.building_block_type",
        "kibana.alert.original_time",
        "kibana.alert.reason",
        "kibana.alert.risk_score",
        "kibana.alert.rule.name",
        "kibana.alert.rule.rule_id",
        "kibana.alert.rule.tags",
        "kibana.alert.severity",
    }
)
"""What is kept of the alert beside the event: a whole alert holds its rule, which takes 20 kB."""


@dataclass(frozen=True, slots=True)
class ExceptedKeeper:
    """Keeps excepted events for a time that begins `now`, by the machine's clock, whatever time a run is of."""

    lasts: timedelta
    now: Callable[[], datetime]

    async def keep(
        self, store: ExceptedStore, found: Sequence[ExceptedEvents], rule: Rule, run: RuleRun, *, context: AlertContext
    ) -> RuleRun:
        """The run, with a message about what could not be stored of its excepted events."""
        now, context = self.now(), replace(context, now=run.started, execution_id=run.execution_id)
        events: list[KeptEvent] = []
        reasons: list[str] = []
        for one in found:
            for hit in one.hits:
                match = Match((hit,), is_sequence=False)
                try:
                    event = _kept(hit, one.item, rule, context, until=now + self.lasts)
                except OF_A_DOCUMENT as error:
                    reasons.append(reason_against(match, error))
                    continue
                events += [] if event is None else [event]
        if events:
            try:
                await store.keep(events, now)
            except RunnerError as error:
                reasons.append(str(error))
        if not reasons:
            return run
        status = "warning" if run.status == "succeeded" else run.status
        return replace(run, status=status, messages=(*run.messages, _unkept(reasons)))


def _kept(hit: Hit, item: ExceptionItem, rule: Rule, context: AlertContext, *, until: datetime) -> KeptEvent | None:
    """The event as the alert that it would have been; None if that is an alert of the rule itself."""
    candidate = candidate_for(Match((hit,), is_sequence=False), rule, context.space)
    group = build_alerts(candidate, rule, context)
    if group is None:
        return None
    document = dict(_main_fields(group.head.document.items()))
    document |= {
        f"{EXCEPTION}.id": item.id,
        f"{EXCEPTION}.name": item.name,
        f"{EXCEPTION}.reason": item.reason,
        f"{EXCEPTION}.scope": item.scope,
    }
    id_ = hashlib.sha256(f"excepted {candidate.head} {item.id}".encode("utf-8", "surrogatepass")).hexdigest()
    return KeptEvent(id_, rule.rule_id, document, until)


def _main_fields(fields: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    return ((name, value) for name, value in fields if not name.startswith("kibana.") or name in _OF_ALERT)


def event_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The event's own fields in the document of an excepted event."""
    own = ((name, value) for name, value in document.items() if not name.startswith(("kibana.", EXCEPTION)))
    return {name: value for name, value in own if name != "@timestamp"}


def _unkept(reasons: Sequence[str]) -> str:
    what = "1 excepted event" if len(reasons) == 1 else f"{len(reasons):,} excepted events"
    return f"{what} could not be kept for `alerts list --excepted`: {'; '.join(reasons[:3])}"
