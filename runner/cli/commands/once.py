"""`rule-runner once`: the main job, once."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runner.analyst.alert_summary import by_event_time
from runner.cli.console import counted, may_color, moment, print_json, progress_bar, say, show_problem, warn
from runner.cli.console import err as stderr
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import given_flags, require_rule_paths, require_rules
from runner.cli.notifying import Notifying, Told, read_told
from runner.cli.own_command import runnable, state_flag
from runner.cli.pages.run_report import RunReport
from runner.cli.rule_choice import chosen
from runner.cli.stop import GRACE_S, on_signals
from runner.cli.wiring import Opened, alone, opened
from runner.clock import Clock, FakeClock, SystemClock
from runner.errors import SettingsError, StoppedError
from runner.events.files.event_files import EVENT_FILES, ReadProgress
from runner.rule_run import RuleRun
from runner.rules.load import types_of, why_not
from runner.rules.rule import Rule
from runner.schedule.schedule import Schedule
from runner.search.compiled_rule import time_fields
from runner.search.protocol import SearchRequest
from runner.service.due_requests import known_states, requests_at, requests_before, requests_due
from runner.service.execution import Execution
from runner.service.rules_in_use import ActiveRules, load_active
from runner.settings.settings import Settings
from runner.store.file_lock import HeldError
from runner.store.protocol import AlertFilter, StoredAlert
from runner.telemetry.logs import configure_logging
from runner.windows import from_nanoseconds, nanoseconds, subtract


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
    is_quiet: bool = False
    """Print nothing unless there is a new alert or a problem."""
    everything: bool = False
    """Show the rules without news, too."""


def once(settings: Settings, observer: RunObserver | None = None, options: OnceOptions = OnceOptions()) -> int:
    """Run every due rule once and print what was done."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    told = read_told(settings)
    configure_logging(settings, stream=sys.stderr, color=may_color(), secrets=told.secrets)
    if options.is_quiet:
        logging.getLogger("runner").setLevel(logging.ERROR)
    require_rule_paths(settings)
    # Standard output is for the alerts alone then.
    with redirect_stdout(sys.stderr) if told.to_stdout else nullcontext():
        return asyncio.run(_once(settings, observer or RunObserver(), options, told))


@dataclass(slots=True)
class _Prepared:
    """What a single run is to do; filled in on the way, since a signal may end the preparation."""

    active: ActiveRules = field(default_factory=ActiveRules)
    clock: Clock = field(default_factory=SystemClock)
    requests: list[SearchRequest] | None = None
    told: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The messages of the last run of each rule."""


async def _once(settings: Settings, observer: RunObserver, options: OnceOptions, told: Told) -> int:
    stop = on_signals()
    total: list[int] = []
    runs: list[RuleRun] = []
    alerts: list[StoredAlert] = []
    shows_bar = bool(settings.events) and not options.is_quiet
    with progress_bar("reading events", lambda: total[0], shown=shows_bar) as advance:
        progress = stop.checked(observer.reading(advance))
        async with opened(settings, progress=progress) as found:
            notifying = Notifying(found, told)
            tools, ready = notifying.tools, _Prepared()
            try:
                async with alone(tools, enough=lambda: bool(stop)):
                    async with stop.within():
                        await notifying.begin()
                        await _prepare(ready, tools, total, options)
                    if ready.requests is not None:
                        observer.begin(ready.active, tools.schedule)
                        execution = observer.observed(tools.execution(ready.clock))
                        async with stop.within(GRACE_S), aclosing(execution.run(ready.requests)) as source:
                            async for run in source:
                                runs.append(run)
                                observer.on_run(run)
                                notifying.record(run)
                                if stop and tools.files is None:
                                    break  # in a cluster each window is a search of its own
                    async with stop.within(GRACE_S):
                        alerts = await _created(tools, runs)
                        await notifying.drain()
            except (StoppedError, HeldError):
                if not stop:
                    raise
    if notifying.is_closed:
        raise BrokenPipeError
    if stop and (ready.requests is None or len(runs) < len(ready.requests) or not all(run.complete for run in runs)):
        if runs:
            _report(settings, tools, ready, runs=runs, alerts=alerts, options=options)
        asked = 0 if ready.requests is None else len(ready.requests)
        done = sum(run.complete for run in runs)
        searched = f"{done:,} of {counted(asked, 'window')} searched" if asked else "nothing was searched"
        say(f"{stop}: {searched}, {'the others stay' if asked else 'what is due stays'} due", "yellow")
        return stop.code
    code = _report(settings, tools, ready, runs=runs, alerts=alerts, options=options)
    for text in notifying.owed():
        warn(text)
    return ExitCode.UNREACHABLE if code == ExitCode.FINE and notifying.owed() else code


async def _prepare(ready: _Prepared, tools: Opened, total: list[int], options: OnceOptions) -> None:
    """Load the rules, and find out what is due by which clock."""
    settings = tools.settings
    if tools.files is not None:
        total.append(await asyncio.to_thread(tools.files.bytes_to_read))  # says at once what cannot be read at all
    clock = FakeClock(settings.now) if isinstance(settings.now, datetime) else SystemClock()
    whole = await load_active(tools.sources, tools.search, at=clock.now())
    ready.active = chosen(whole, options.rules)
    _require_rules(ready.active, settings)
    ready.clock = await _clock(tools, ready.active)
    if isinstance(ready.clock, FakeClock):  # exceptions expire by the time of the run
        whole = await load_active(tools.sources, tools.search, whole, at=ready.clock.now())
        ready.active = chosen(whole, options.rules)
    if tools.files is not None and tools.files.only_folders:
        now = ready.clock.now()
        await reopen(tools, whole, now, searched_now=requests_at(ready.active.compiled, now))
    if options.is_quiet:
        states = await tools.stores.ledger.read()
        ready.told = {id_: state.last.messages for id_, state in states.items() if state.last is not None}
    ready.requests = await _requests(tools, ready.active, ready.clock.now(), force=options.force)


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
        if tools.files is not None and not tools.files.only_folders:
            return requests_at(active.compiled, now, counted_by=await ledger.read())
        if tools.settings.now is not None:
            return requests_at(active.compiled, now, await ledger.read())
        states = await known_states(ledger, active, now, schedule=schedule)
        current = requests_at(active.compiled, now, states)
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
    others = active.loaded.unsupported or active.loaded.deprecated or active.loaded.left_out
    if active.rules or active.loaded.errors or active.problems or others:
        return
    places = ", ".join(map(str, settings.rules))
    raise SettingsError(f"every rule in {places} is disabled ({counted(len(active.loaded.rules), 'rule')})")


def _report(
    settings: Settings,
    tools: Opened,
    ready: _Prepared,
    *,
    runs: Sequence[RuleRun],
    alerts: Sequence[StoredAlert],
    options: OnceOptions,
) -> ExitCode:
    active, asked = ready.active, ready.requests or ()
    broken = active.is_broken
    report = RunReport(runs, alerts, tools.places, state_flag(settings))
    show_problems(active, errors_only=options.is_quiet)
    failed = broken or any(run.status == "failed" for run in runs)
    if tools.files is not None and not (runs and all(run.status == "failed" for run in runs)):
        _remark_on_input(tools, active.rules, ready.clock.now(), is_quiet=options.is_quiet)
    if options.is_quiet and report.is_quiet(ready.told):
        return ExitCode.RULE_FAILED if failed else ExitCode.FINE
    if settings.output == "json":
        print_json(report.as_json(everything=options.everything))
    else:
        report.print(everything=options.everything)
        idle = len(active.rules) - len({run.rule_id for run in runs})
        if idle and len(asked) < len(active.rules) and not options.is_quiet:
            why = "the interval has not passed since the last run; --force searches all the same"
            say(f"{counted(idle, 'rule')} not due yet: {why}")
    return ExitCode.RULE_FAILED if failed else ExitCode.FINE


def show_problems(active: ActiveRules, *, errors_only: bool = False) -> None:
    """What is wrong with the rules, on stderr; rules of other types in one line."""
    for problem in (*active.problems, *active.exceptions.problems):
        if problem.severity == "error" or not errors_only:
            show_problem(problem, stderr())
    if (retired := active.loaded.deprecated) and not errors_only:
        warn(f"{counted(len(retired), 'deprecated rule')} left out, such as {retired[0].path}")
    if active.selected is not None and (said := active.selected.summary()) and not errors_only:
        say(said)
    others = [rule for rule in active.loaded.unsupported if rule.enabled]
    if others and not errors_only:
        types = types_of(others)
        warn(f"{counted(len(others), 'rule')} of other types ({', '.join(types)}) not run: {why_not(*types)}")


def _remark_on_input(tools: Opened, rules: Sequence[Rule], now: datetime, *, is_quiet: bool) -> None:
    assert tools.files is not None
    report = tools.files.report
    if not rules:
        warn("nothing was searched: there is no rule to run")
    elif report.files == 0:
        warn(f"no event files in {', '.join(tools.settings.events)}: {EVENT_FILES}")
    elif report.events == 0:
        warn(f"no events in {', '.join(tools.settings.events)}")
    elif report.newest_ns is not None and not is_quiet:
        newest = from_nanoseconds(report.newest_ns)
        if newest < min(rule.window_at(now).start for rule in rules):
            say(
                f"the newest event is of {moment(newest)} UTC, before the look-back of every rule: nothing could "
                "match. Use `--now latest` to run as of the newest event, or `rule-runner replay` for all their time.",
                "yellow",
            )
