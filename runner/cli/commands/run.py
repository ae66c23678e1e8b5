"""`rule-runner run`: the main job as a service."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from runner.cli.console import counted, may_color
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import heartbeat_path, require_rule_paths
from runner.cli.metrics_port import listening
from runner.cli.stop import on_signals
from runner.cli.wiring import PATIENCE_S, opened
from runner.clock import SystemClock
from runner.errors import RunnerError, SettingsError, StoppedError
from runner.garbage_collection import HeapFreezer
from runner.rule_run import RuleRun
from runner.schedule.rule_status import standing_of
from runner.service.rules_in_use import ActiveRules
from runner.service.service import Pace, Service, ServiceObserver
from runner.settings.settings import Settings, variables_for
from runner.store.file_lock import FileLock
from runner.telemetry.health import HealthState
from runner.telemetry.heartbeat import HeartbeatFile
from runner.telemetry.logs import configure_logging
from runner.telemetry.metrics import Metrics, ServiceView
from runner.telemetry.tick_log import TickLog
from runner.windows import from_nanoseconds

_PATIENCE_TICKS = 3
_RELOADED = ("rules", "catch_up", "on_cap", "log_level", "log_format")
"""Settings that SIGHUP reads again; the others count from the next start on."""
_LOG = structlog.get_logger("runner.service")


def run(settings: Settings, reread: Callable[[], Settings]) -> ExitCode:
    """Run every rule on its schedule until a signal stops the process; `reread` gives the settings as they are now."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    # It warns of every tick that is skipped because one before it takes longer; nothing is lost by that.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    if settings.now is not None:
        raise SettingsError("RUNNER_NOW is for `once`: a service runs by the clock")
    if "-" in settings.events:
        raise SettingsError("--events -: a service reads files and folders; standard input can be read by `once`")
    require_rule_paths(settings)
    asyncio.run(_run(settings, reread))
    return ExitCode.FINE


async def _run(settings: Settings, reread: Callable[[], Settings]) -> None:
    clock = SystemClock()
    patience = _PATIENCE_TICKS * settings.tick + settings.search_timeout
    file = HeartbeatFile(heartbeat_path(settings), patience, on_failure=_LOG.warning)
    health = HealthState(clock.now(), on_change=lambda snapshot: file.update(snapshot.at, snapshot.trouble))
    running: list[Service] = []
    reloading = _Reload(settings, reread, running)

    def stop_all() -> None:
        for service in running:
            service.stop()

    stop = on_signals(stop_all, code=ExitCode.FINE, hangup=reloading.reload)

    def advanced(count: int) -> None:
        if count:  # waiting is no sign of life
            health.beat(clock.now())

    async with opened(settings, live=True, progress=stop.checked(advanced)) as tools:
        leases = tools.leases(clock)
        try:
            async with stop.within():
                if tools.files is not None:
                    # A wrong path ends the service at its start, not every rule at every run.
                    await asyncio.to_thread(tools.files.bytes_to_read)
                if isinstance(leases, FileLock):
                    await leases.wait_for("once", seconds=PATIENCE_S, enough=lambda: False)
        except StoppedError as error:
            _LOG.info(f"rule-runner stopped: {error} before it began")
            return

        def view() -> ServiceView:
            newest = tools.files.report.newest_ns if tools.files is not None else None
            event = None if newest is None else from_nanoseconds(newest)
            return ServiceView(service.active, service.states, service.schedule, service.held, event)

        metrics = Metrics(view, clock.now)
        store = "the cluster" if tools.is_shared else f"the state file {settings.state}"
        log = TickLog(clock.now, lambda: _owed(view(), clock.now()), store=store)
        service = Service(
            settings.rules,
            replace(tools.execution(clock), on_created=metrics.record_alerts),
            clock=clock,
            schedule=tools.schedule,
            observer=_ServiceReporter(clock, health, metrics, log=log, heap=HeapFreezer(), is_shared=tools.is_shared),
            leases=leases,
            pace=Pace(settings.tick, settings.lease / 3 if tools.is_shared else None, settings.concurrency),
        )
        running.append(service)
        if stop:
            service.stop()
        source = ", ".join(settings.events) or ", ".join(settings.elasticsearch_hosts) or "Elastic Cloud"
        _LOG.info(f"rule-runner starts: events from {source}")
        with listening(settings, metrics, health, patience=patience, now=clock.now):
            health.beat(clock.now())
            try:
                await service.run()
            finally:
                log.flush()
                file.remove()
        _LOG.info("rule-runner stopped: what was not searched stays due")


def _owed(view: ServiceView, now: datetime) -> tuple[int, timedelta]:
    """How many rules owe time, and how much in all."""
    standings = [
        standing_of(one.rule, view.states.get(one.rule.rule_id), view.schedule, now=now, reach=one.reach)
        for one in view.active.compiled
    ]
    lengths = [standing.owed_length for standing in standings if standing.owed]
    return len(lengths), sum(lengths, timedelta(0))


@dataclass(slots=True)
class _Reload:
    """What SIGHUP does: the rules and the settings of `_RELOADED` are read again."""

    settings: Settings
    reread: Callable[[], Settings]
    running: Sequence[Service]

    def reload(self) -> None:
        """Read again, use what can be used at once, and log what has changed."""
        try:
            found = self.reread()
            require_rule_paths(found)
        except RunnerError as error:
            _LOG.error(f"SIGHUP: the settings cannot be used, those of before stay in use: {error}")
            found = self.settings
        names = [name for name in Settings.model_fields if getattr(found, name) != getattr(self.settings, name)]
        changed = [f"{variables_for(name)[0]} is {_value(found, name)}" for name in names if name in _RELOADED]
        fixed = [variables_for(name)[0] for name in names if name not in _RELOADED]
        self.settings = self.settings.model_copy(update={name: getattr(found, name) for name in _RELOADED})
        configure_logging(self.settings, stream=sys.stderr, color=may_color())
        for service in self.running:
            service.reload(self.settings.rules, on_cap=self.settings.on_cap, horizon=self.settings.catch_up)
        _LOG.info(f"SIGHUP: the rules are read again; {', '.join(changed) or 'no setting has changed'}")
        if fixed:
            _LOG.warning(f"SIGHUP: {', '.join(fixed)} changed, which counts from the next start on")


def _value(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True)
class _ServiceReporter(ServiceObserver):
    """Reports what the service does to logs, metrics and health state."""

    clock: SystemClock
    health: HealthState
    metrics: Metrics
    log: TickLog = field(kw_only=True)
    heap: HeapFreezer = field(kw_only=True)
    is_shared: bool = field(kw_only=True)

    def on_run(self, done: RuleRun) -> None:
        self.log.add(done)
        self.metrics.record_run(done)
        self.health.record_run(done)
        self.health.beat(self.clock.now())

    def on_rules(self, active: ActiveRules) -> None:
        _log_rules(active)
        self.metrics.record_rules(active)
        self.health.record_rules(active)
        self.heap.rules_changed()

    def on_tick(self, trouble: Exception | None) -> None:
        self.metrics.record_tick(trouble)
        self.health.record_tick(self.clock.now(), trouble)
        self.heap.tick_done()
        self.log.tick_over(trouble)

    def on_trouble(self, error: Exception) -> None:
        self.log.trouble(error)

    def on_held(self, held: int, rules: int) -> None:
        if self.is_shared:
            _LOG.info(f"this runner leads {held} of {counted(rules, 'rule')}")

    def on_remark(self, text: str) -> None:
        _LOG.warning(text)


def _log_rules(active: ActiveRules) -> None:
    """Log every problem of the rules, and how many are in use."""
    for problem in active.problems:
        log = _LOG.error if problem.severity == "error" else _LOG.warning
        place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else str(problem.file)
        log(f"{place}: {problem.text}", rule_id=problem.rule_id, file=str(problem.file))
    others = len(active.loaded.unsupported)
    _LOG.info(
        f"{counted(len(active.rules), 'rule')} in use from {counted(active.loaded.files, 'file')}"
        + (f"; {others} of other types than EQL are not supported yet" if others else "")
    )
