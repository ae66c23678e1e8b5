"""`rule-runner run`: the main job as a service."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from runner.cli.console import counted, may_color
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import heartbeat_path, require_rule_paths
from runner.cli.metrics_port import listening
from runner.cli.notifying import Notifying, StopsSending, Told, read_told
from runner.cli.running import Running
from runner.cli.stop import on_signals
from runner.cli.web_wiring import WebPages, pages_of
from runner.cli.wiring import PATIENCE_S, Opened, opened
from runner.clock import SystemClock
from runner.errors import SettingsError, StoppedError
from runner.garbage_collection import HeapFreezer
from runner.notify.health_notices import HealthNotices
from runner.rule_run import RuleRun
from runner.rules.load import types_of, why_not
from runner.schedule.rule_status import RuleStatus, standing_of
from runner.search.files.file_search import FileSearch
from runner.service.arrivals import Looked
from runner.service.rules_in_use import ActiveRules
from runner.service.service import Pace, Service, ServiceObserver
from runner.settings.settings import Settings
from runner.store.file_lock import FileLock
from runner.store.leases import Leases
from runner.telemetry.health import EventsSeen, HealthReport, HealthState, readiness, sight
from runner.telemetry.heartbeat import HeartbeatFile
from runner.telemetry.logs import configure_logging
from runner.telemetry.metrics import Metrics, ServiceView
from runner.telemetry.tick_log import TickLog
from runner.windows import from_nanoseconds, nanoseconds

_PATIENCE_TICKS = 3
_AHEAD = timedelta(minutes=5)
"""By how much the time of an event may be ahead of the clock and count as new."""
_GAPS_EVERY = timedelta(minutes=5)
_LOG = structlog.get_logger("runner.service")


def run(settings: Settings, reread: Callable[[], Settings]) -> ExitCode:
    """Run every rule on its schedule until a signal stops the process; `reread` gives the settings as they are now."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    told = read_told(settings)
    configure_logging(settings, stream=sys.stderr, color=may_color(), secrets=told.secrets)
    # It warns of every tick that is skipped because one before it takes longer; nothing is lost by that.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    if settings.now is not None:
        raise SettingsError("RUNNER_NOW is for `once`: a service runs by the clock")
    if "-" in settings.events:
        raise SettingsError("--events -: a service reads files and folders; standard input can be read by `once`")
    require_rule_paths(settings)
    asyncio.run(_run(settings, reread, told))
    return ExitCode.FINE


async def _run(settings: Settings, reread: Callable[[], Settings], told: Told) -> None:
    clock = SystemClock()
    patience = _PATIENCE_TICKS * settings.tick + settings.search_timeout
    file = HeartbeatFile(heartbeat_path(settings), patience, on_failure=_LOG.warning)
    health = HealthState(clock.now(), on_change=lambda snapshot: file.update(snapshot.at, snapshot.trouble))
    running = Running(settings, reread)
    stop = on_signals(running.stop, code=ExitCode.FINE, hangup=running.reload)

    def advanced(count: int) -> None:
        if count:  # waiting is no sign of life
            health.beat(clock.now())

    async with opened(settings, live=True, progress=stop.checked(advanced)) as found:
        running.notifying = notifying = Notifying(found, told, on_closed=running.stop)
        tools, leases = notifying.tools, StopsSending(found.leases(clock), notifying)
        async with stop.within():
            await _begin(tools, leases.inner, notifying)
        if stop:
            _LOG.info(f"rule-runner stopped: {stop} before it began")
            return

        def view() -> ServiceView:
            return _view(service, health, settings, clock.now())

        metrics = Metrics(view, clock.now)
        store = "the cluster" if tools.is_shared else f"the state file {settings.state}"
        log = TickLog(clock.now, lambda: _owed(view(), clock.now()), store=store)
        service = Service(
            tools.sources,
            replace(tools.execution(clock), on_created=notifying.waking(metrics.record_alerts)),
            clock=clock,
            schedule=tools.schedule,
            observer=_ServiceReporter(
                settings,
                tools,
                clock,
                health=health,
                metrics=metrics,
                log=log,
                notices=notifying.notices,
                gaps=lambda: _given_up(view(), clock.now()),
            ),
            leases=leases,
            pace=Pace(settings.tick, settings.lease / 3 if tools.is_shared else None, settings.concurrency),
            arrivals=tools.arrivals,
        )
        running.service = service
        _LOG.info("rule-runner starts: events from {}; alerts go to {}".format(*tools.places))
        more, pages = notifying.metrics(clock), _pages(settings, health, patience)
        with listening(settings, metrics, health, patience=patience, now=clock.now, more=more, pages=pages):
            health.beat(clock.now())
            try:
                async with notifying.sending():
                    await service.run()
            finally:
                log.flush()
                file.remove()
        _LOG.info("rule-runner stopped: what was not searched stays due")
    if notifying.is_closed:
        raise BrokenPipeError


def _view(service: Service, health: HealthState, settings: Settings, now: datetime) -> ServiceView:
    """What the service knows at this moment."""
    events, sees = health.snapshot.events, sight(health.snapshot, now, settings.quiet_after)
    return ServiceView(
        service.active,
        service.states,
        service.schedule,
        service.held,
        newest_event=None if events is None else events.newest,
        event_files=None if events is None else events.files,
        is_blind=sees is not None and not sees.ok,
        blind_rules=health.snapshot.blind,
    )


def _pages(settings: Settings, health: HealthState, patience: timedelta) -> WebPages | None:
    """The pages for a browser; what keeps them from being served ends the service only if they were asked for."""

    def ready() -> HealthReport:
        now = SystemClock().now()
        return readiness(health.snapshot, now, patience, quiet_after=settings.quiet_after)

    try:
        return pages_of(settings, readiness=ready)
    except SettingsError as error:
        if not settings.is_default("web"):
            raise
        _LOG.warning(f"pages for a browser are not served: {error}")
        return None


async def _begin(tools: Opened, leases: Leases, notifying: Notifying) -> None:
    """Wait until the events can be read and the state is free; a wrong path ends the service, not every run."""
    if tools.files is not None:
        with suppress(StoppedError):
            await asyncio.to_thread(tools.files.bytes_to_read)
    if isinstance(leases, FileLock):
        await leases.wait_for("once", seconds=PATIENCE_S, enough=lambda: False)
    await notifying.begin()


def _standings(view: ServiceView, now: datetime) -> list[RuleStatus]:
    return [
        standing_of(one.rule, view.states.get(one.rule.rule_id), view.schedule, now=now, reach=one.reach)
        for one in view.active.compiled
    ]


def _owed(view: ServiceView, now: datetime) -> tuple[int, timedelta]:
    """How many rules owe time, and how much in all."""
    lengths = [standing.owed_length for standing in _standings(view, now) if standing.owed]
    return len(lengths), sum(lengths, timedelta(0))


def _given_up(view: ServiceView, now: datetime) -> tuple[int, timedelta]:
    """How many rules have spans that are searched no more, and how long these are in all."""
    lengths = [standing.given_up_length for standing in _standings(view, now) if standing.given_up]
    return len(lengths), sum(lengths, timedelta(0))


@dataclass(slots=True)
class _ServiceReporter(ServiceObserver):
    """Reports what the service does to logs, metrics and health state."""

    settings: Settings
    tools: Opened
    clock: SystemClock
    health: HealthState = field(kw_only=True)
    metrics: Metrics = field(kw_only=True)
    log: TickLog = field(kw_only=True)
    notices: HealthNotices | None = field(kw_only=True)
    """What targets are told of the service's health, if one wants to be."""
    gaps: Callable[[], tuple[int, timedelta]] = field(kw_only=True)
    """How many rules have given up time, and how much in all."""
    gaps_seen: timedelta | None = None
    """When that was looked at last, in elapsed time."""
    heap: HeapFreezer = field(default_factory=HeapFreezer)
    saw: bool = True
    arrived: datetime | None = None
    """The newest time of the events that have come."""

    def on_run(self, done: RuleRun) -> None:
        self.log.add(done)
        self.metrics.record_run(done)
        self.health.record_run(done)
        self.health.beat(self.clock.now())
        if self.notices is not None:
            self.notices.run(done)

    def on_rules(self, active: ActiveRules) -> None:
        _log_rules(active)
        self.metrics.record_rules(active)
        self.health.record_rules(active)
        self.heap.rules_changed()

    def on_tick(self, trouble: Exception | None) -> None:
        now = self.clock.now()
        self.metrics.record_tick(trouble)
        self.health.record_tick(now, trouble)
        if self.tools.files is not None and self.health.snapshot.runs:
            seen = events_seen(self.tools.files, now)
            newest = max((time for time in (seen.newest, self.arrived) if time is not None), default=None)
            self.health.record_events(replace(seen, newest=newest))
        self._log_sight(now)
        self.heap.tick_done()
        self.log.tick_over(trouble)
        self._notice(trouble)

    def _notice(self, trouble: Exception | None) -> None:
        """Let targets know of an outage, and now and then of spans that were given up."""
        if self.notices is None:
            return
        self.notices.tick(trouble)
        passed = self.clock.elapsed()
        if trouble is None and (self.gaps_seen is None or passed - self.gaps_seen >= _GAPS_EVERY):
            self.gaps_seen = passed
            self.notices.given_up(*self.gaps())

    def _log_sight(self, now: datetime) -> None:
        """Log when events are not seen any more, and when they are again."""
        found = sight(self.health.snapshot, now, self.settings.quiet_after)
        if found is not None and self.notices is not None:
            self.notices.sight(found.ok, found.reason)
        if found is None or found.ok == self.saw:
            return
        self.saw = found.ok
        if found.ok:
            _LOG.info(f"events are seen again: {found.reason}")
        else:
            _LOG.warning(f"no events are seen: {found.reason}")

    def on_trouble(self, error: Exception) -> None:
        self.log.trouble(error)

    def on_held(self, held: int, rules: int) -> None:
        if self.tools.is_shared:
            _LOG.info(f"this runner leads {held} of {counted(rules, 'rule')}")

    def on_remark(self, text: str) -> None:
        _LOG.warning(text)

    def on_look(self, looked: Looked) -> None:
        self.metrics.record_look(looked)
        if looked.newest is not None:
            self.arrived = max(looked.newest, self.arrived or looked.newest)
        for text in looked.remarks():
            _LOG.warning(text)


def events_seen(files: FileSearch, now: datetime) -> EventsSeen:
    """What a search has seen of the events in its files."""
    newest = files.newest_ns(nanoseconds(now + _AHEAD))
    return EventsSeen(files.report.files, None if newest is None else from_nanoseconds(newest))


def _log_rules(active: ActiveRules) -> None:
    """Log every problem of the rules, and how many are in use."""
    for problem in (*active.problems, *active.exceptions.problems):
        log = _LOG.error if problem.severity == "error" else _LOG.warning
        place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else str(problem.file)
        log(f"{place}: {problem.text}", rule_id=problem.rule_id, file=str(problem.file))
    others = active.loaded.unsupported
    excepted = len({item.id for one in active.compiled for item in one.exceptions})
    _LOG.info(
        f"{counted(len(active.rules), 'rule')} in use from {counted(active.loaded.files, 'file')}"
        + (f"; {counted(excepted, 'exception')} of {len(active.exceptions.items)} in force" if excepted else "")
        + (f"; {len(others):,} of other types are not run: {why_not(*types_of(others))}" if others else "")
        + (f"; {len(active.loaded.deprecated)} deprecated ones are left out" if active.loaded.deprecated else "")
    )
    if active.selected is not None and (said := active.selected.summary()):
        _LOG.info(said)
