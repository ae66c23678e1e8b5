"""`rule-runner alerts show ID --explain`: why a stored alert matched, each of its events against the rule's query."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from rich.text import Text

from runner import eql
from runner.alerts.event_fields import value_at
from runner.alerts.event_time import event_time_ns
from runner.analyst.alert_lookup import only
from runner.cli.console import out, print_json
from runner.cli.exit_codes import ExitCode
from runner.cli.pages.explain_page import stage_verdict
from runner.cli.wiring import opened_stores
from runner.dates.dates import date_text
from runner.engine.plan import Plan
from runner.eql.explain.event_verdict import Judge, StageVerdict, Verdict
from runner.errors import RunnerError
from runner.kql.search_api import parse_text, resolve_text
from runner.messages.quantities import length_of_time
from runner.messages.query_errors import QueryError
from runner.rules.model_errors import shortened
from runner.settings.settings import Settings
from runner.store.protocol import StoredAlert
from runner.triage.excepted_alert import alert_schema, original_event

_LONGEST = 160
"""Characters of a condition that has parts."""
_PARAMETERS = "kibana.alert.rule.parameters"
_NO_EVENTS = {
    "esql": "a cluster alone evaluates ES|QL",
    "machine_learning": "a job of Elasticsearch found it: the anomaly's score is in the alert",
}


@dataclass(frozen=True, slots=True)
class ExplainedAlert:
    """The query that made an alert, and the verdict on each event at its stage."""

    alert: str
    rule: str
    query: str
    events: tuple[tuple[str, int | None, StageVerdict], ...]
    """The `event.id`, the time in nanoseconds, the verdict; a sequence's events in the order of its stages."""
    maxspan: int | None
    note: str = ""


def explain_alert(settings: Settings, id_: str) -> ExitCode:
    """Print why an alert matched. Raises RunnerError for one whose query cannot be evaluated here."""
    head, blocks = asyncio.run(_found(settings, id_))
    explained = _explained(head, blocks)
    if settings.output == "json":
        print_json(asdict(explained))
        return ExitCode.FINE
    console = out()
    for line in _page(explained):
        console.print(line, soft_wrap=True)
    return ExitCode.FINE


async def _found(settings: Settings, id_: str) -> tuple[StoredAlert, Sequence[StoredAlert]]:
    async with opened_stores(settings) as stores:
        head = await only(stores.alerts, id_)
        group = value_at(head.document, "kibana.alert.group.id")
        return head, () if group is None else await stores.alerts.group(str(group))


def _explained(head: StoredAlert, blocks: Sequence[StoredAlert]) -> ExplainedAlert:
    document = head.document
    name = str(value_at(document, "kibana.alert.rule.name") or "")
    kind = str(value_at(document, f"{_PARAMETERS}.type") or "")
    query = value_at(document, f"{_PARAMETERS}.query")
    if kind in _NO_EVENTS or not isinstance(query, str):
        raise RunnerError(f"the alert of rule {name!r} cannot be explained: {_NO_EVENTS.get(kind, 'it has no query')}")
    plan = _plan(document, query)
    documents = [original_event(block.document) for block in blocks or (head,)]
    note = ""
    if kind == "threshold":
        documents, note = [], "a threshold rule: the alert is of events that it counted, and holds none of them"
    latest = max((event_time_ns(one.document) or 0 for one in blocks or (head,)), default=0)
    verdicts = [Judge(plan, now_ns=latest).judge(one) for one in documents]
    places = [place for place, stage in enumerate(plan.stages) if not stage.missing]
    if plan.kind == "event":
        places = places * len(verdicts)
    if len(places) != len(verdicts) and documents:
        note = f"the store holds {len(verdicts)} of the alert's {len(places)} events"
        places, verdicts = [], []
    events = tuple(
        (str(value_at(one, "event.id") or ""), verdict.time, _decisive(verdict.stages[place]))
        for place, one, verdict in zip(places, documents if verdicts else [], verdicts, strict=True)
    )
    note = note or _note(events)
    return ExplainedAlert(head.id, name, query, events, plan.maxspan, note)


def _decisive(stage: StageVerdict) -> StageVerdict:
    """The verdict with those alternatives alone that are met, where one is: the others made no difference."""
    return replace(stage, conditions=tuple(map(_met, stage.conditions)))


def _met(verdict: Verdict) -> Verdict:
    if not verdict.parts:
        return verdict
    parts = [part for part in verdict.parts if part.met] if verdict.met and verdict.role == "or" else verdict.parts
    return replace(verdict, text=shortened(verdict.text, _LONGEST), parts=tuple(map(_met, parts)))


def _note(events: Sequence[tuple[str, int | None, StageVerdict]]) -> str:
    """What to know where the stored events do not meet the query that found them."""
    if all(verdict.met for _, _, verdict in events):
        return ""
    return "what is not met was when it was found: the alert keeps not all of the event, or the field's type differs"


def _plan(document: Mapping[str, Any], query: str) -> Plan:
    """The plan of the query as the alert's rule had it. Raises RunnerError."""
    parameter = {
        name: str(value) for name in ("language", "event_category_override", "timestamp_field", "tiebreaker_field")
        if (value := value_at(document, f"{_PARAMETERS}.{name}"))
    }  # fmt: skip
    language = parameter.get("language", "eql")
    try:
        if language != "eql":
            return resolve_text(parse_text(query, language), alert_schema()).plan
        options = eql.SearchOptions(
            event_category_field=parameter.get("event_category_override", "event.category"),
            timestamp_field=parameter.get("timestamp_field", "@timestamp"),
            tiebreaker_field=parameter.get("tiebreaker_field"),
        )
        return options.program(eql.parse(query), alert_schema()).plan
    except QueryError as error:
        raise RunnerError(f"the query of the alert's rule cannot be read: {error}") from None


def _page(explained: ExplainedAlert) -> list[Text]:
    lines = [Text.assemble((explained.rule, "bold"), f"  alert {explained.alert}"), Text("query", style="bold")]
    lines += [Text(f"  {line}") for line in explained.query.strip().splitlines()]
    for id_, time, verdict in explained.events:
        when = "no timestamp" if time is None else date_text(time)
        lines += [Text(f"event {id_} ({when})", style="bold"), *stage_verdict(verdict)]
    times = [time for _, time, _ in explained.events if time is not None]
    for number, (one, other) in enumerate(pairwise(times), 1):
        lines.append(Text(f"  event {number} to {number + 1}: {length_of_time(other - one)} later"))
    if explained.maxspan is not None and len(times) > 1:
        span = length_of_time(times[-1] - times[0])
        lines.append(Text(f"  all of them within {span}, maxspan is {length_of_time(explained.maxspan)}"))
    if explained.note:
        lines.append(Text(f"note: {explained.note}", style="yellow"))
    return lines
