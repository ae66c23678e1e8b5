"""A whole runner in a folder: rule files, event files, a store and a clock that stands still until it is moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from runner.alerts.build import AlertContext
from runner.clock import FakeClock
from runner.rule_run import RuleRun
from runner.schedule.schedule import Schedule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import Search
from runner.selection import NOTHING, RuleSelection
from runner.service.arrivals import ArrivalWatch, Looked
from runner.service.due_requests import requests_at
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, RuleSources, load_active
from runner.service.service import Pace, Service, ServiceObserver
from runner.store.changes import AlertChange
from runner.store.leases import Leases
from runner.store.protocol import AlertFilter, StoredAlert
from tests.paths import ROOT
from tests.store.alerts import Store

COUNT = "kibana.alert.suppression.docs_count"
SHIPPED_RULES = ROOT / "rules" / "linux"


@dataclass
class World:
    """A folder with `rules` and `events`, and what happened in it so far."""

    folder: Path
    store: Store
    clock: FakeClock
    rule_paths: Sequence[Path] = ()
    on_cap: Literal["carry", "drop"] = "carry"
    leases: Leases | None = None
    horizon: timedelta = timedelta(days=7)
    together: bool = True
    select: RuleSelection = NOTHING
    pace: Pace = field(default_factory=Pace)
    remarks: list[str] = field(default_factory=list)
    looks: list[Looked] = field(default_factory=list)
    runs: list[RuleRun] = field(default_factory=list)
    rule_sets: list[ActiveRules] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)
    ticks: list[Exception | None] = field(default_factory=list)
    _service: Service | None = None
    _search: FileSearch | None = None

    def __post_init__(self) -> None:
        for name in ("rules", "events"):
            (self.folder / name).mkdir(exist_ok=True)
        self.rule_paths = self.rule_paths or (self.folder / "rules",)

    @property
    def sources(self) -> RuleSources:
        """The rules, with the folder `exceptions` beside them."""
        return RuleSources(tuple(self.rule_paths), select=self.select)

    @property
    def events(self) -> Path:
        return self.folder / "events"

    def append(self, text: str, name: str = "events.ndjson") -> None:
        with (self.events / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def go_to(self, moment: datetime) -> None:
        self.clock.advance(moment - self.clock.now())

    def execution(self, search: Search) -> Execution:
        context = AlertContext(now=self.clock.now(), execution_id="")
        return Execution(search, self.store, self.store, clock=self.clock.now, context=context, on_cap=self.on_cap)

    def service(self, search: Search | None = None) -> Service:
        """The service of this folder, the same one until `restart`."""
        if self._service is None:
            self._search = FileSearch([self.events], live=True)
            watch = ArrivalWatch(self._search, self.store, self.store, horizon=self.horizon)
            self._service = Service(
                self.sources,
                self.execution(search or self._search),
                arrivals=watch if search is None else None,
                clock=self.clock,
                schedule=Schedule(together=self.together, horizon=self.horizon),
                observer=_Recorder(self),
                leases=self.leases,
                pace=self.pace,
            )
        return self._service

    async def restart(self) -> None:
        """Forget the service; the next one knows only what the store knows."""
        if self._search is not None:
            await self._search.close()
        self._service = self._search = None

    async def tick(self) -> list[RuleRun]:
        """One tick of the service; returns the runs that it made."""
        before = len(self.runs)
        await self.service().tick()
        return self.runs[before:]

    async def once(self) -> list[RuleRun]:
        """What `rule-runner once` does with named files."""
        search = FileSearch([self.events])
        try:
            active = await load_active(self.sources, search, at=self.clock.now())
            self.rule_sets.append(active)
            requests = requests_at(active.compiled, self.clock.now())
            return [run async for run in self.execution(search).run(requests)]
        finally:
            await search.close()

    async def alerts(self, *, building_blocks: bool = False) -> list[StoredAlert]:
        wanted = AlertFilter(building_blocks=building_blocks)
        found = [alert async for alert in self.store.find(wanted)]
        return sorted(found, key=lambda alert: (str(alert.document["kibana.alert.original_time"]), alert.id))

    async def heads(self) -> dict[str, str]:
        """Every event and shell alert: its id, and what it is about as `rule: event` or `rule: event + event`."""
        told: dict[str, str] = {}
        for alert in await self.alerts():
            document = alert.document
            group = document.get("kibana.alert.group.id")
            blocks = await self.store.group(str(group)) if group is not None else [alert]
            events = " + ".join(event_id(block.document) for block in blocks)
            told[alert.id] = f"{document['kibana.alert.rule.rule_id']}: {events}"
        return told

    async def counted(self) -> list[str]:
        """What the alerts of alert suppression stand for beside themselves, in order: `rule: event +3`."""
        heads = await self.heads()
        counts = {alert.id: alert.document.get(COUNT) for alert in await self.alerts()}
        return [f"{what} +{counts[id_]}" for id_, what in heads.items() if counts[id_] is not None]

    async def groups(self) -> dict[str, Any]:
        """The instance id and the key of every alert of alert suppression."""
        terms = "kibana.alert.suppression.terms"
        found = {alert.id: alert.document for alert in await self.alerts() if COUNT in alert.document}
        return {id_: (document["kibana.alert.instance.id"], document[terms]) for id_, document in found.items()}

    async def close_alert(self, what: str) -> None:
        """Close the alert that `heads` calls so."""
        ids = [id_ for id_, told in (await self.heads()).items() if told == what]
        closed = {"kibana.alert.workflow_status": "closed"}
        result = await self.store.update([AlertChange(id_, closed) for id_ in ids])
        assert len(result.changed) == 1, f"{what}: {result}"


@dataclass(frozen=True)
class _Recorder(ServiceObserver):
    """Keeps in a world what its service does."""

    world: World

    def on_run(self, run: RuleRun) -> None:
        self.world.runs.append(run)

    def on_rules(self, active: ActiveRules) -> None:
        self.world.rule_sets.append(active)

    def on_trouble(self, error: Exception) -> None:
        self.world.troubles.append(error)

    def on_tick(self, trouble: Exception | None) -> None:
        self.world.ticks.append(trouble)

    def on_remark(self, text: str) -> None:
        self.world.remarks.append(text)

    def on_look(self, looked: Looked) -> None:
        self.world.looks.append(looked)


def event_id(document: Any) -> str:
    """The id of the event that an alert was made of; of a threshold rule what was counted: values, number, first."""
    if (result := document.get("kibana.alert.threshold_result")) is not None:
        terms = ",".join(str(term["value"]) for term in result["terms"])
        values = "".join(f" /{one['value']}" for one in result.get("cardinality", ()))
        return f"{terms} x{result['count']} {result['from'][11:19]}{values}"
    return str(document.get("kibana.alert.original_event.id") or document["event"]["id"])


def told(run: RuleRun) -> str:
    """A run as a scenario writes it: rule, window, outcome and the counts that are not zero."""
    counts = (
        ("created", run.created),
        ("known", run.duplicates),
        ("suppressed", run.suppressed),
        ("over", run.capped),
    )
    shown = " ".join(f"{name}={count}" for name, count in counts if count)
    if run.excepted:
        excepted = sorted(f"{one.exception}:{one.events}" for one in run.excepted)
        shown = f"{shown} excepted={','.join(excepted)}".strip()
    window = f"{run.window.start:%H:%M:%S}-{run.window.end:%H:%M:%S}"
    open_end = "" if run.complete else " owed"
    return f"{run.rule_id} {window} {run.status}{open_end} {shown}".rstrip()
