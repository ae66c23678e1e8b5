"""`rule-runner exceptions preview`: the stored alerts and the matches that exceptions would have removed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from runner.analyst.excepted_alerts import excepted_alerts
from runner.cli.console import err, progress_bar, say, show_problem, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import has_cluster, require_exceptions, require_rule_paths, require_rules, rule_sources
from runner.cli.pages.exception_preview_page import PreviewReport, print_preview
from runner.cli.rule_choice import chosen
from runner.cli.stop import on_signals
from runner.cli.wiring import Opened, opened, opened_stores
from runner.clock import SystemClock
from runner.errors import SettingsError, StoppedError, StoreError
from runner.exceptions import ExceptionItem, Exceptions, load_exceptions
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.search.files.file_search import FileSearch
from runner.service.exception_preview import preview
from runner.service.rules_in_use import ActiveRules, load_active
from runner.settings.settings import Settings
from runner.store.protocol import AlertFilter, StoredAlert
from runner.windows import Window, from_nanoseconds

_SINCE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class PreviewOptions:
    """What is previewed, over which time."""

    paths: tuple[Path, ...] = ()
    """Exceptions to try; without any those in force are compared with having none."""
    rules: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    stored_only: bool = False


def preview_exceptions(settings: Settings, wanted: PreviewOptions) -> int:
    """Print what the exceptions would have removed."""
    require_rule_paths(settings)
    return asyncio.run(_preview(settings, wanted))


async def _preview(settings: Settings, wanted: PreviewOptions) -> int:
    stop = on_signals()
    now = SystemClock().now()
    tried = load_exceptions(require_exceptions(settings, wanted.paths))
    for problem in tried.problems:
        show_problem(problem, err())
    active = await load_active(rule_sources(settings), FileSearch(()), at=now)
    require_rules(active.loaded, settings)
    pairs = _concerned(chosen(active, wanted.rules), tried, now)
    report = PreviewReport(tried.items, {item.id: 0 for item in tried.items})
    for item in (item for _, items in pairs for item in items):
        report.rules[item.id] += 1
    report.alerts = await _stored(settings, dict(_by_rule(pairs)), wanted, now)
    try:
        async with stop.within():
            if not wanted.stored_only and (settings.events or has_cluster(settings)):
                await _search(settings, pairs, wanted, now=now, report=report)
    except StoppedError:
        report.searched = []
    if stop:
        say(f"{stop}: the events were not searched to the end", "yellow")
        return stop.code
    print_preview(report, settings.output)
    for text in report.problems():
        warn(text)
    return ExitCode.FINDINGS if any(one.severity == "error" for one in tried.problems) else ExitCode.FINE


_Pair = tuple[CompiledRule, Sequence[ExceptionItem]]


def _concerned(active: ActiveRules, tried: Exceptions, now: datetime) -> list[_Pair]:
    """The rules that exceptions are for, without these, and the exceptions of each."""
    files = {source.path.resolve() for source in tried.sources}
    pairs: list[_Pair] = []
    for compiled in active.compiled:
        items = tried.for_rule(compiled.rule, now)
        others = tuple(item for item in compiled.exceptions if item.place.file.resolve() not in files)
        if items:
            pairs.append((replace(compiled, exceptions=others), items))
    return pairs


def _by_rule(pairs: Sequence[_Pair]) -> list[tuple[str, Sequence[ExceptionItem]]]:
    return [(compiled.rule.rule_id, items) for compiled, items in pairs]


async def _stored(
    settings: Settings, items: Mapping[str, Sequence[ExceptionItem]], wanted: PreviewOptions, now: datetime
) -> list[tuple[StoredAlert, ExceptionItem]]:
    """The stored alerts that an exception hits, newest detection first; none where nothing is stored yet."""
    try:
        async with opened_stores(settings) as stores:
            selected = AlertFilter(since=wanted.since or now - _SINCE, until=wanted.until)
            return await excepted_alerts(stores.alerts, items, selected, now)
    except StoreError as error:
        if settings.state.exists() or has_cluster(settings):
            raise
        say(f"no stored alerts: {error}")
        return []


async def _search(
    settings: Settings, pairs: Sequence[_Pair], wanted: PreviewOptions, *, now: datetime, report: PreviewReport
) -> None:
    """Search the events with the exceptions and without them."""
    total: list[int] = []
    with progress_bar("reading events", lambda: total[0], shown=bool(settings.events)) as advance:
        async with opened(settings, dry_run=True, progress=advance) as tools:
            if tools.files is not None:
                total.append(await asyncio.to_thread(tools.files.bytes_to_read))
            report.window = await _window(tools, [compiled for compiled, _ in pairs], wanted, now)
            report.source = tools.places[0]
            report.searched = await preview(tools.search, pairs, report.window, settings.space)


async def _window(tools: Opened, rules: Sequence[CompiledRule], wanted: PreviewOptions, now: datetime) -> Window:
    """The time that is searched: of files all of it, unless a part is named."""
    start, end = wanted.since, wanted.until
    if tools.files is not None and (start is None or end is None):
        times = await tools.files.times({time_fields(compiled.rule) for compiled in rules})
        start = start or from_nanoseconds(times.oldest or 0)
        end = end or from_nanoseconds((times.newest or 0) + 999)
    start, end = start or now - _SINCE, end or now
    if start > end:
        raise SettingsError(f"--since {start.isoformat()} is later than --until {end.isoformat()}")
    return Window(start, end)
