"""`rule-runner once`: the main job, once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.text import Text

from runner.cli.console import (
    STATUS_STYLES,
    counted,
    may_color,
    moment,
    out,
    print_json,
    print_places,
    print_table,
    progress_bar,
    say,
    show_problem,
    table,
    warn,
    window_text,
)
from runner.cli.console import err as stderr
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import given_flags, require_rule_paths, require_rules
from runner.cli.own_command import own_command, runnable
from runner.cli.pages.alert_table import SHORT_ID, alert_table, by_event_time
from runner.cli.rule_choice import chosen
from runner.cli.signals import on_signals
from runner.cli.wiring import Opened, alone, opened
from runner.clock import Clock, FakeClock, SystemClock
from runner.errors import SettingsError
from runner.events.files.event_files import EVENT_FILES, ReadProgress
from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.schedule.schedule import Schedule
from runner.search.compiled_rule import time_fields
from runner.search.protocol import SearchRequest
from runner.service.due_requests import known_states, requests_at, requests_before, requests_due
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, load_active
from runner.settings.settings import Settings
from runner.store.protocol import AlertFilter, StoredAlert
from runner.telemetry.logs import configure_logging
from runner.windows import from_nanoseconds, nanoseconds, subtract

_SHOWN_ALERTS = 20


class RunObserver:
    """Receives what a single run does; this one ignores it."""

    def reading(self, advance: ReadProgress) -> ReadProgress:
        """The progress of reading, as it is to be reported."""
        return advance

    def begin(self, active: ActiveRules, schedule: Schedule) -> None:
        """The rules are loaded, and the store has answered."""

    def observed(self, execution: Execution) -> Execution:
        """The execution, as it is to be run."""
        return execution

    def on_run(self, run: RuleRun) -> None:
        """A run is done."""


@dataclass(frozen=True, slots=True)
class OnceOptions:
    """What a single run is asked for beside its settings."""

    rules: tuple[str, ...] = ()
    """Ids, names or files of the only rules to run; all of them without."""
    force: bool = False
    """Search each rule's window now, whether it is due or not."""


def once(settings: Settings, observer: RunObserver | None = None, options: OnceOptions = OnceOptions()) -> ExitCode:
    """Run every due rule once and print what was done."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    require_rule_paths(settings)
    return asyncio.run(_once(settings, observer or RunObserver(), options))


async def _once(settings: Settings, observer: RunObserver, options: OnceOptions) -> ExitCode:
    stopping = asyncio.Event()
    on_signals(stopping.set)
    total: list[int] = []
    with progress_bar("reading events", lambda: total[0], shown=bool(settings.events)) as advance:
        progress = observer.reading(advance)
        async with opened(settings, progress=progress) as tools, alone(tools, enough=stopping.is_set):
            if tools.files is not None:
                total.append(tools.files.bytes_to_read())  # says at once what cannot be read at all
            whole = await load_active(settings.rules, tools.search)
            active = chosen(whole, options.rules)
            _require_rules(active, settings)
            clock = await _clock(tools, active)
            if tools.files is not None and tools.files.only_folders:
                await reopen(tools, whole, clock.now(), searched_now=requests_at(active.compiled, clock.now()))
            requests = await _requests(tools, active, clock.now(), force=options.force)
            observer.begin(active, tools.schedule)
            execution = observer.observed(tools.execution(clock))
            runs = []
            async for run in _until(execution.run(requests), stopping, len(requests)):
                runs.append(run)
                observer.on_run(run)
            alerts = await _created(tools, runs)
    return _report(settings, tools, active, runs=runs, alerts=alerts, now=clock.now(), asked=len(requests))


async def _clock(tools: Opened, active: ActiveRules) -> Clock:
    """The clock of a single run: the machine's, or one that stands at `--now`; by the times that rules select by."""
    now = tools.settings.now
    if isinstance(now, datetime):
        return FakeClock(now)
    if now != "latest":
        return SystemClock()
    if tools.files is None:
        raise SettingsError("--now latest needs --events: in a cluster the newest event is of this moment")
    selecting = {time_fields(compiled.rule) for compiled in active.compiled}
    times = await tools.files.times(selecting)
    newest, outliers = times.newest_by(nanoseconds(SystemClock().now()))
    if newest is None:
        for text in tools.files.report.warnings():
            warn(text)
        raise SettingsError(f"--now latest: no event with a readable {named(selecting)} was found in the events")
    if outliers:
        shown = ", ".join(f"{moment(from_nanoseconds(time))} UTC" for time in outliers[:3])
        more = f" and {len(outliers) - 3:,} more" if len(outliers) > 3 else ""
        warn(
            f"--now latest: events of {shown}{more} are in the future and alone there: the newest of the others, of "
            f"{moment(from_nanoseconds(newest))} UTC, is taken as now; --now TIME searches at another time"
        )
    return FakeClock(from_nanoseconds(newest))


def named(selecting: Collection[tuple[str, ...]]) -> str:
    """The time fields by which rules select, as text; `@timestamp` without a rule."""
    return " or ".join(dict.fromkeys(name for names in sorted(selecting) for name in names)) or "@timestamp"


async def _requests(tools: Opened, active: ActiveRules, now: datetime, *, force: bool = False) -> list[SearchRequest]:
    schedule, ledger = tools.schedule, tools.stores.ledger
    if tools.files is not None or force:
        # Named files are a finite input: their window is searched, whatever the ledger says. A folder without a named
        # time is where something writes to: there the ledger says what earlier runs have left.
        current = requests_at(active.compiled, now)
        if tools.settings.now is not None or (tools.files is not None and not tools.files.only_folders):
            return current
        states = await known_states(ledger, active, now, schedule=schedule)
        return [*current, *requests_before(current, states, schedule)]
    is_past = tools.settings.now is not None
    states = await (ledger.read() if is_past else known_states(ledger, active, now, schedule=schedule))
    return requests_due(active.compiled, states, now, schedule=schedule)


async def reopen(
    tools: Opened, active: ActiveRules, now: datetime, *, searched_now: Sequence[SearchRequest] = ()
) -> None:
    """Mark in the ledger as owed what was searched before events of its time came; says so on stderr, unless all of it
    lies in the windows that are `searched_now`."""
    if (watch := tools.arrivals) is None:
        return
    looked = await watch.look(active.compiled, await tools.stores.ledger.read(), now)
    shown = {request.rule.rule_id: [request.reach.shown(request.window)] for request in searched_now}
    left = any(subtract(span, shown.get(mark.rule_id, ())) for mark in looked.late.marks for span in mark.spans)
    for text in looked.remarks(given_flags(tools.settings)) if left else ():
        warn(runnable(text))


async def _until(runs: AsyncGenerator[RuleRun, None], stopping: asyncio.Event, asked: int) -> AsyncIterator[RuleRun]:
    """The runs, up to the one after which a signal was seen; none if there was one before the first."""
    done = 0
    if stopping.is_set():
        say("stopped by a signal before anything was searched", "yellow")
        return
    async with aclosing(runs) as source:
        async for item in source:
            yield item
            done += 1
            if stopping.is_set() and done < asked:
                say(
                    f"stopped by a signal: {done} of {counted(asked, 'window')} searched, the others stay due", "yellow"
                )
                return


async def _created(tools: Opened, runs: Sequence[RuleRun]) -> list[StoredAlert]:
    """The alerts that the runs created, earliest first."""
    executions = {run.execution_id for run in runs if run.created}
    if not executions:
        return []
    # Detection times are stored in whole milliseconds: those of these runs may lie just before the runs' own start.
    wanted = AlertFilter(since=min(run.started for run in runs) - timedelta(seconds=1))
    found = [
        alert
        async for alert in tools.stores.alerts.find(wanted)
        if alert.document.get("kibana.alert.rule.execution.uuid") in executions
    ]
    return by_event_time(found)


def _require_rules(active: ActiveRules, settings: Settings) -> None:
    require_rules(active.loaded, settings)
    others = active.loaded.unsupported or active.loaded.deprecated
    if active.rules or active.loaded.errors or active.problems or others:
        return
    places = ", ".join(map(str, settings.rules))
    raise SettingsError(f"every rule in {places} is disabled ({counted(len(active.loaded.rules), 'rule')})")


def _report(
    settings: Settings,
    tools: Opened,
    active: ActiveRules,
    *,
    runs: Sequence[RuleRun],
    alerts: Sequence[StoredAlert],
    now: datetime,
    asked: int,
) -> ExitCode:
    show_problems(active)
    created = sum(run.created for run in runs)
    if settings.output == "json":
        source, alerts_to = tools.places
        runs_json = [run.as_json() for run in runs]
        print_json({"runs": runs_json, "created": created, "events": source, "alerts_to": alerts_to})
    else:
        _print_runs(runs, alerts, tools)
        idle = len(active.rules) - len({run.rule_id for run in runs})
        if idle and asked < len(active.rules):
            why = "the interval has not passed since the last run; --force searches all the same"
            say(f"{counted(idle, 'rule')} not due yet: {why}")
    if tools.files is not None:
        _remark_on_input(tools, active.rules, now)
    failed = any(run.status == "failed" for run in runs)
    broken = any(problem.severity == "error" for problem in active.problems)
    return ExitCode.RULE_FAILED if failed or broken else ExitCode.FINE


def show_problems(active: ActiveRules) -> None:
    """What is wrong with the rules, on stderr; rules of other types in one line."""
    for problem in active.problems:
        show_problem(problem, stderr())
    if retired := active.loaded.deprecated:
        warn(f"{counted(len(retired), 'deprecated rule')} left out, such as {retired[0].path}")
    if others := active.loaded.unsupported:
        types = ", ".join(sorted({rule.type for rule in others}))
        warn(f"{counted(len(others), 'rule')} of other types ({types}) not run: only EQL rules are supported yet")


def _remark_on_input(tools: Opened, rules: Sequence[Rule], now: datetime) -> None:
    assert tools.files is not None
    report = tools.files.report
    if not rules:
        warn("nothing was searched: there is no rule to run")
    elif report.files == 0:
        warn(f"no event files in {', '.join(tools.settings.events)}: {EVENT_FILES}")
    elif report.events == 0:
        warn(f"no events in {', '.join(tools.settings.events)}")
    elif report.newest_ns is not None and rules:
        newest = from_nanoseconds(report.newest_ns)
        if newest < min(rule.window_at(now).start for rule in rules):
            say(
                f"the newest event is of {moment(newest)} UTC, before the look-back of every rule: nothing could "
                "match. Use `--now latest` to run as of the newest event, or `rule-runner replay` for all their time.",
                "yellow",
            )


def _print_runs(runs: Sequence[RuleRun], alerts: Sequence[StoredAlert], tools: Opened) -> None:
    console, settings = out(), tools.settings
    counts = ("matches", "created", "known", "over cap", "ms")
    windows = {run.window for run in runs}
    if len(windows) == 1:
        console.print(f"Window {window_text(*windows)} UTC")
    shown = table("rule", "outcome", *(("window (UTC)",) if len(windows) > 1 else ()), *counts, right=counts)
    for run in runs:
        numbers = (run.matches, run.created, run.duplicates, run.capped, run.took_ms)
        window = (window_text(run.window),) if len(windows) > 1 else ()
        outcome = Text(run.status, style=STATUS_STYLES[run.status])
        shown.add_row(Text(run.name), outcome, *window, *map(str, numbers))
    if runs:
        print_table(shown)
    for text in dict.fromkeys(text for run in runs for text in run.messages):
        names = list({run.rule_id: run.name for run in runs if text in run.messages}.values())
        subject = names[0] if len(names) == 1 else f"{len(names)} rules"
        told = text if text.startswith(f'rule "{subject}"') else f"{subject}: {text}"
        console.print(Text(told, style="yellow"), soft_wrap=True)
    console.print()
    if not alerts:
        console.print("No new alerts.")
        print_places(*tools.places)
        return
    console.print(f"{counted(len(alerts), 'new alert')}:")
    print_table(alert_table(alerts[:_SHOWN_ALERTS]))
    if len(alerts) > _SHOWN_ALERTS:
        console.print(f"... and {len(alerts) - _SHOWN_ALERTS} more: {own_command()} alerts list{_state_flag(settings)}")
    follow = f"{own_command()} alerts show {alerts[0].id[:SHORT_ID]}{_state_flag(settings)}"
    console.print()
    print_places(*tools.places)
    console.print(f"Look at one: {follow}", soft_wrap=True)


def _state_flag(settings: Settings) -> str:
    """The `--state` that a following command needs to find the same alerts."""
    return "" if settings.is_default("state") else f" --state {settings.state}"
