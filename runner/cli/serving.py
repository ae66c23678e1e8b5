"""`rule-runner run`: the main job as a service."""

from __future__ import annotations

import asyncio
import logging
import sys

import structlog

from runner.cli.console import counted, may_color
from runner.cli.exits import ExitCode
from runner.cli.places import heartbeat_path, require_rule_paths
from runner.cli.signals import on_signals
from runner.cli.wiring import opened
from runner.clock import SystemClock
from runner.errors import RunnerError, SettingsError
from runner.heartbeat import HeartbeatFile
from runner.report import RuleRun
from runner.service import ActiveRules, Service
from runner.settings import Settings
from runner.telemetry import configure_logging, log_run

_PATIENCE_TICKS = 3
_LOG = structlog.get_logger("runner.service")


def run(settings: Settings) -> ExitCode:
    """Run every rule on its schedule until the process is told to stop."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    # It warns of every tick that is skipped because one before it takes longer; nothing is lost by that.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    if settings.now is not None:
        raise SettingsError("RUNNER_NOW is for `once`: a service runs by the clock")
    if "-" in settings.events:
        raise SettingsError("--events -: a service reads files and folders; standard input can be read by `once`")
    require_rule_paths(settings)
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> ExitCode:
    clock = SystemClock()
    patience = _PATIENCE_TICKS * settings.tick + settings.search_timeout
    heart = HeartbeatFile(heartbeat_path(settings), patience, on_failure=_LOG.warning)
    async with opened(settings, live=True, progress=lambda count: heart.beat(clock.now())) as tools:
        if tools.files is not None:
            tools.files.bytes_to_read()  # a wrong path ends the service at its start, not every rule at every run

        def on_run(done: RuleRun) -> None:
            log_run(done)
            heart.beat(clock.now())

        def on_tick(trouble: Exception | None) -> None:
            heart.beat(clock.now(), "" if trouble is None else str(trouble) or type(trouble).__name__)

        service = Service(
            settings.rules,
            tools.execution(clock),
            clock=clock,
            schedule=tools.schedule,
            on_run=on_run,
            on_rules=_log_rules,
            on_trouble=_log_trouble,
            on_tick=on_tick,
            tick=settings.tick,
        )
        on_signals(service.stop)
        source = ", ".join(settings.events) or ", ".join(settings.elasticsearch_hosts) or "Elastic Cloud"
        _LOG.info(f"rule-runner starts: events from {source}")
        heart.beat(clock.now(), "")
        try:
            await service.run()
        finally:
            heart.end()
        _LOG.info("rule-runner stopped: the window in hand is finished")
    return ExitCode.FINE


def _log_trouble(error: Exception) -> None:
    """Log why a tick came to nothing; with the traceback if nobody raised the error on purpose."""
    unexpected = None if isinstance(error, RunnerError) else error
    _LOG.error(f"the search stopped: {error}; what was not searched stays due", exc_info=unexpected)


def _log_rules(active: ActiveRules) -> None:
    """Log every problem of the rules, and how many are in use."""
    for problem in active.problems:
        log = _LOG.error if problem.severity == "error" else _LOG.warning
        place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else str(problem.file)
        log(f"{place}: {problem.message}", rule_id=problem.rule_id, file=str(problem.file))
    others = len(active.loaded.unsupported)
    _LOG.info(
        f"{counted(len(active.rules), 'rule')} in use from {counted(active.loaded.files, 'file')}"
        + (f"; {others} of other types than EQL are not supported yet" if others else "")
    )
