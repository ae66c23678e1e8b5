"""Notifications in the commands that search: the targets of the settings, what sends to them, what they are owed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog

from runner.alerts.alert import Alert
from runner.cli.console import counted, may_color, printable
from runner.cli.locations import stores_in_cluster
from runner.cli.wiring import Opened
from runner.clock import Clock, SystemClock
from runner.errors import Problem, RunnerError, SettingsError
from runner.notify.courier import CourierView
from runner.notify.dispatcher import Dispatcher
from runner.notify.health_notices import HealthNotices
from runner.notify.notifications_file import Notifications, read_notifications
from runner.notify.owed_item import item_maker
from runner.notify.target import NotificationTarget, stream_to
from runner.rule_run import RuleRun
from runner.rules.discovery import NOTIFICATIONS
from runner.settings.settings import Settings
from runner.store.leases import Leases
from runner.store.outbox import Outbox
from runner.store.protocol import AlertStore
from runner.store.sqlite.sqlite_store import SqliteStore
from runner.telemetry.logs import Redactor, configure_logging
from runner.telemetry.notify_metrics import NotifyMetrics

OFF = Path("off")
STDOUT = "-"
_LIMIT_S = 30.0
"""Seconds that a single run sends for at its end."""
_LOG = structlog.get_logger("runner.notify")


@dataclass(frozen=True, slots=True)
class Told:
    """Whom the settings have told, and what must be masked."""

    targets: tuple[NotificationTarget, ...] = ()
    secrets: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def to_stdout(self) -> bool:
        """Whether standard output is for alerts alone."""
        return any(target.is_stream and target.url == STDOUT for target in self.targets)


def read_told(settings: Settings) -> Told:
    """The targets that the settings name. Raises SettingsError with all problems of the file."""
    path = notifications_path(settings)
    found = Notifications() if path is None else read_notifications(path, os.environ)
    if found.errors:
        head = f"{counted(len(found.errors), 'problem')} in {path}:"
        raise SettingsError("\n  ".join((head, *map(_line, found.errors))))
    streams = () if settings.alerts_to is None else (stream_to(settings.alerts_to),)
    if streams and settings.alerts_to != STDOUT:
        _require_place(Path(str(settings.alerts_to)))
    return Told((*found.targets, *streams), found.secrets, path)


def notifications_path(settings: Settings) -> Path | None:
    """The file of targets: the named one, else that beside the state file, or in the rules' folders or beside them."""
    if settings.notifications is not None:
        return None if settings.notifications == OFF else settings.notifications
    rules = () if settings.is_default("rules") else settings.rules
    folders = [settings.state.parent, *(folder for path in rules for folder in (path, path.parent))]
    found = {path.resolve(): path for folder in folders if (path := folder / NOTIFICATIONS).is_file()}
    if len(found) > 1:
        shown = " and ".join(map(str, found.values()))
        raise SettingsError(f"{shown}: several files of notifications; name one with --notifications")
    return next(iter(found.values()), None)


def _line(problem: Problem) -> str:
    place = f"{problem.file}:{problem.line}:{problem.column}: " if problem.line else f"{problem.file}: "
    return printable(f"{place}{problem.text}")


def _require_place(path: Path) -> None:
    if path.is_dir():
        raise SettingsError(f"--alerts-to {path}: is a folder, expected the name of a file, or -")
    if not path.parent.is_dir():
        raise SettingsError(f"--alerts-to {path}: there is no folder {path.parent}")


def masked(settings: Settings, told: Told) -> Callable[[str], str]:
    """The function that masks the secrets of settings and targets."""
    return Redactor((*settings.secrets(), *told.secrets)).text


def outbox_of(alerts: AlertStore) -> Outbox | None:
    """The outbox of a store; None for one in memory, whose alerts nobody is told of."""
    found: Outbox | None = getattr(alerts, "outbox", None)
    return found


class Notifying:
    """What sends to the targets of a command; does nothing in a dry run."""

    def __init__(self, tools: Opened, told: Told, *, on_closed: Callable[[], None] = lambda: None) -> None:
        """Raises SettingsError for a target that cannot be used here."""
        self.told = told
        self.is_closed = False
        self._tools, self._on_closed = tools, on_closed
        self._masked = masked(tools.settings, told)
        self._reload: asyncio.Task[None] | None = None
        outbox = outbox_of(tools.stores.alerts)
        self.dispatcher: Dispatcher | None = None
        if outbox is not None:
            clock = SystemClock()
            shared = _leases(tools, told, clock) if tools.is_shared else (None, timedelta(0))
            self.dispatcher = Dispatcher(
                told.targets,
                outbox,
                tools.stores.alerts,
                clock=clock,
                cleaned=lambda text: self._masked(text),
                leases=shared[0],
                duration=shared[1],
                on_closed=self._closed,
            )

    @property
    def tools(self) -> Opened:
        """The tools, whose alerts are owed to the targets as they are created."""
        return self._tools if self.dispatcher is None else announcing(self._tools, self.dispatcher)

    @property
    def views(self) -> tuple[CourierView, ...]:
        return () if self.dispatcher is None else self.dispatcher.views

    def owed(self) -> list[str]:
        """What could not be sent, a line for each target that fails."""
        return owed_lines(self.views)

    def record(self, run: RuleRun) -> None:
        """A rule was run once."""
        if self.dispatcher is not None and self.dispatcher.wants_health:
            HealthNotices(self.dispatcher.observe).run(run)

    async def begin(self) -> None:
        """Open the targets, before an alert is created."""
        if self.dispatcher is not None:
            await self.dispatcher.begin()

    def waking(self, on_created: Callable[[Sequence[Alert]], None]) -> Callable[[Sequence[Alert]], None]:
        """The same reception of new alerts, which are sent at once."""

        def created(alerts: Sequence[Alert]) -> None:
            on_created(alerts)
            if self.dispatcher is not None:
                self.dispatcher.wake()

        return created

    @property
    def notices(self) -> HealthNotices | None:
        """What observes the service's health for the targets; None where nothing is sent."""
        return None if self.dispatcher is None else HealthNotices(self.dispatcher.observe)

    def metrics(self, clock: Clock) -> list[NotifyMetrics]:
        """The metrics of the targets."""
        return [NotifyMetrics(lambda: self.views, clock.now)]

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """A block beside which is sent what is due."""
        if self.dispatcher is not None:
            self.dispatcher.start()
        try:
            yield
        finally:
            await self.stop()

    def wind_down(self) -> None:
        """Begin no more tries."""
        if self.dispatcher is not None:
            self.dispatcher.wind_down()

    async def stop(self) -> None:
        """End what sends."""
        if self.dispatcher is not None:
            await self.dispatcher.stop()

    async def drain(self) -> None:
        """Send what is due, for a bounded time."""
        if self.dispatcher is not None:
            await self.dispatcher.drain(_LIMIT_S)

    def reload(self, settings: Settings) -> None:
        """Use the targets that the settings name now; with a problem those of before stay in use, which is logged."""
        if self.dispatcher is None:
            return
        try:
            told = read_told(settings)
        except RunnerError as error:
            _LOG.error(f"SIGHUP: the notifications cannot be used, those of before stay in use: {error}")
            return
        # What is still sent to the targets of before is masked, too.
        self.told = replace(told, secrets=tuple({*self.told.secrets, *told.secrets}))
        self._masked = masked(settings, self.told)
        configure_logging(settings, stream=sys.stderr, color=may_color(), secrets=self.told.secrets)
        self._reload = asyncio.get_running_loop().create_task(self._replace(self.dispatcher, told))

    async def _replace(self, dispatcher: Dispatcher, told: Told) -> None:
        try:
            await dispatcher.replace(told.targets)
        except RunnerError as error:
            _LOG.error(f"SIGHUP: the notifications cannot be used, those of before stay in use: {error}")
            return
        _LOG.info(f"SIGHUP: alerts are sent to {counted(len(told.targets), 'target')}")

    def _closed(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._on_closed()


class StopsSending:
    """Leases that are given back after the last message was sent. Implements `Leases`."""

    def __init__(self, inner: Leases, notifying: Notifying) -> None:
        self.inner, self._notifying = inner, notifying

    async def hold(self, wanted: Collection[str]) -> frozenset[str]:
        return await self.inner.hold(wanted)

    async def release(self) -> None:
        try:
            await self._notifying.stop()
        finally:
            await self.inner.release()


def announcing(tools: Opened, dispatcher: Dispatcher) -> Opened:
    """The tools, whose alerts in a cluster are announced; those of a file need not be."""
    if isinstance(tools.stores.alerts, SqliteStore) or not stores_in_cluster(tools.settings):
        return tools
    from runner.cli.cluster_wiring import announced

    return replace(tools, stores=announced(tools.stores, dispatcher.item_makers))


def announcing_to(tools: Opened, told: Told) -> Opened:
    """As `announcing`, where nothing is sent: another process does."""
    if isinstance(tools.stores.alerts, SqliteStore) or not stores_in_cluster(tools.settings) or not told.targets:
        return tools
    from runner.cli.cluster_wiring import announced

    makers = {target.name: item_maker(target, SystemClock().now) for target in told.targets}
    return replace(tools, stores=announced(tools.stores, lambda: makers))


def _leases(tools: Opened, told: Told, clock: Clock) -> tuple[Leases, timedelta]:
    from runner.cli.cluster_wiring import target_leases

    longest = max((target.timeout for target in told.targets), default=timedelta(0))
    duration = max(tools.settings.lease, 2 * longest + timedelta(seconds=2))
    return target_leases(tools.settings, tools.stores, clock, duration), duration


def owed_lines(views: Sequence[CourierView]) -> list[str]:
    """What could not be sent, a line for each target that fails."""
    lines = []
    for view in views:
        if view.record.failures and view.backlog.items:
            owed = counted(view.backlog.items, "alert")
            lines.append(
                f"target {view.target}: {owed} not sent yet, the next run tries again: {view.record.last_error}"
            )
    return lines
