"""`rule-runner replay`: the live code path over a past span, window by window."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runner.analyst.rule_report import read_noise
from runner.cli.commands.alert_report import format_for, write_report
from runner.cli.commands.once import named, reopen, show_problems
from runner.cli.console import may_color, say, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, stores_in_cluster
from runner.cli.notifying import announcing_to, read_told
from runner.cli.pages.replay_progress import ReplayBar, replay_bar
from runner.cli.pages.replay_report import ReplayOutcome, print_outcome
from runner.cli.rule_choice import chosen
from runner.cli.stop import GRACE_S, Stop, on_signals
from runner.cli.wiring import Opened, opened
from runner.clock import SystemClock
from runner.errors import SettingsError, StoppedError, StoreError
from runner.events.files.event_files import ReadReport
from runner.events.files.event_times import EventTimes
from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule, time_fields
from runner.service.execution import Execution
from runner.service.replay import WINDOWS_AT_A_TIME, DryRunStore, Passed, ReplayLedger, ReplayPlan, replay
from runner.service.replay_journal import Done, Journal, identity_of
from runner.service.rules_in_use import ActiveRules, load_active
from runner.settings.settings import Settings
from runner.store.protocol import AlertFilter, StoredAlert
from runner.telemetry.logs import configure_logging
from runner.triage.noise import NoiseReport
from runner.web.report import MOST_ALERTS, ReportedAlerts, gather, gathered
from runner.windows import Window, from_nanoseconds, iso

EARLIEST, LATEST = datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""Times of events have nanoseconds in 64 bits."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a replay was asked for. Without `start` and `end` it is all of the time that the files cover."""

    start: datetime | None = None
    end: datetime | None = None
    rules: tuple[str, ...] = ()
    """Ids, names or files of the only rules to search with; all of them without."""
    dry_run: bool = False
    anew: bool = False
    """Begin at the beginning, also if an interrupted one could go on."""
    report: str | None = None
    """The file for a report on the alerts."""


def replay_span(settings: Settings, wanted: ReplayOptions) -> int:
    """Search every window of a past span and print what was found."""
    configure_logging(settings, stream=sys.stderr, color=may_color())
    require_rule_paths(settings)
    return asyncio.run(_replay(settings, wanted))


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a replay is to do, with what an interrupted one has done of it."""

    active: ActiveRules
    plan: ReplayPlan
    outcome: ReplayOutcome
    execution: Execution
    journal: Journal | None


async def _replay(settings: Settings, wanted: ReplayOptions) -> int:
    stop = on_signals()
    ready: _Prepared | None = None
    with replay_bar() as bar:
        async with opened(settings, dry_run=wanted.dry_run, progress=stop.checked(bar.advance)) as found:
            tools = found if wanted.dry_run else announcing_to(found, read_told(settings))
            try:
                async with stop.within():
                    ready = await _prepare(tools, wanted, bar)
            except StoppedError as error:
                say(f"{error}: nothing was searched yet; run it again", "yellow")
                return stop.code
            if ready is None:
                say(f"{stop}: nothing was searched yet; run it again", "yellow")
                return stop.code
            try:
                async with stop.within(GRACE_S):
                    await _run(ready, bar, stop)
            finally:
                outcome = ready.outcome
                outcome.stopped = bool(stop) and outcome.left > 0
                if ready.journal is not None:
                    ready.journal.close(finished=outcome.left == 0 and not outcome.failed)
            if not outcome.stopped:
                outcome.noise = await _noise(tools, ready)
            reported = await _reported(tools, ready) if wanted.report is not None and not outcome.stopped else None
            report = tools.files.report if tools.files is not None else ReadReport()
    show_problems(ready.active)
    for text in () if outcome.stopped else report.warnings():
        warn(text)
    print_outcome(outcome, settings.output)
    if reported is not None and wanted.report is not None:
        write_report(reported, wanted.report, format_for(wanted.report, None))
    _say_how_to_go_on(outcome, ready.journal, stop)
    if outcome.stopped:
        return stop.code
    broken = ready.active.is_broken
    return ExitCode.RULE_FAILED if broken or outcome.failed else ExitCode.FINE


async def _prepare(tools: Opened, wanted: ReplayOptions, bar: ReplayBar) -> _Prepared:
    """Load the rules and plan the windows."""
    settings = tools.settings
    if tools.files is not None:
        bar.expect_bytes(await asyncio.to_thread(tools.files.bytes_to_read))
    active = await load_active(tools.sources, tools.search, at=SystemClock().now())
    compiled = chosen(active, wanted.rules).compiled
    if tools.files is not None and tools.files.only_folders and not wanted.dry_run:
        await reopen(tools, active, SystemClock().now())
    rules = [one.rule for one in compiled]
    span, times = await _span(tools, compiled, wanted)
    execution = await _execution(tools, wanted)
    path = settings.state.with_name(settings.state.name + ".replay")
    journal = None if wanted.dry_run or "-" in settings.events else Journal(path)
    count = ReplayPlan(compiled, span).count
    done = _begun(journal, _identity(settings, rules, span), count, anew=wanted.anew)
    is_whole = tools.files is None or tools.files.report.is_whole
    plan = ReplayPlan(compiled, span, times=times, is_whole=is_whole, done=done)
    outcome = ReplayOutcome(span, tuple(rules), dry_run=wanted.dry_run, windows=count, left=count, places=tools.places)
    for run in done.runs:
        outcome.tally(run.rule_id).add(run)
    bar.expect_windows(count, done=min(count, len(done.windows)))
    return _Prepared(active, plan, outcome, execution, journal)


async def _execution(tools: Opened, wanted: ReplayOptions) -> Execution:
    """The execution of live runs, marked as manual; for a dry run one that writes nothing."""
    execution = tools.execution(SystemClock())
    execution = replace(execution, context=replace(execution.context, manual=True))
    if wanted.dry_run:
        rehearsal = DryRunStore(keep=MOST_ALERTS if wanted.report is not None else 0)
        return replace(execution, alerts=rehearsal, ledger=rehearsal, keeper=None)
    return replace(execution, ledger=ReplayLedger(execution.ledger, await tools.stores.ledger.read()))


async def _run(ready: _Prepared, bar: ReplayBar, stop: Stop) -> None:
    """Run the windows of the plan; after a signal those that its pass was stopped in stay to be searched."""
    outcome, plan = ready.outcome, ready.plan
    async with aclosing(replay(ready.execution, plan, is_over=lambda: bool(stop))) as runs:
        async for run in runs:
            if isinstance(run, Passed):
                outcome.left -= run.count
                if run.why != "done":
                    outcome.tally(run.compiled.rule.rule_id).pass_over(run.count, failed=run.why == "unread")
            elif stop and not run.complete:
                outcome.tally(run.rule_id).add_part(run)
            else:
                outcome.tally(run.rule_id).add(run)
                if ready.journal is not None:
                    ready.journal.record(run)
                key = run.rule_id, run.window.end
                outcome.left -= key in plan.waiting
                plan.waiting.discard(key)
            bar.reached(run.window.end, left=outcome.left)
    if not stop:
        outcome.left = 0


async def _reported(tools: Opened, ready: _Prepared) -> ReportedAlerts:
    """The alerts of the replay, with those of its events that were there before."""
    alerts, outcome = ready.execution.alerts, ready.outcome
    chosen = f"replay of {iso(outcome.span.start)} to {iso(outcome.span.end)}"
    if isinstance(alerts, DryRunStore):
        kept = [StoredAlert(alert.id, "", alert.document) for alert in alerts.kept]
        return gathered(kept, chosen=f"{chosen}, a dry run", most=MOST_ALERTS)
    start = min(rule.window_at(outcome.span.start).start for rule in outcome.rules)
    wanted = AlertFilter(event_since=start, event_until=outcome.span.end, of_building_block_rules=False)
    return await gather(tools.stores.alerts, wanted, chosen=chosen, most=MOST_ALERTS)


async def _noise(tools: Opened, ready: _Prepared) -> NoiseReport:
    """What the alerts of the replay have in common, with those of its events that were there before."""
    alerts, outcome = ready.execution.alerts, ready.outcome
    if isinstance(alerts, DryRunStore):
        return alerts.noise
    found = {rule_id for rule_id, tally in outcome.tallies.items() if tally.created or tally.duplicates}
    if not found:
        return NoiseReport()
    start = min(rule.window_at(outcome.span.start).start for rule in outcome.rules)
    wanted = AlertFilter(event_since=start, event_until=outcome.span.end, building_blocks=True)
    noise = await read_noise(tools.stores, wanted)
    noise.rules = {rule_id: rule for rule_id, rule in noise.rules.items() if rule_id in found}
    return noise


async def _span(
    tools: Opened, rules: Sequence[CompiledRule], wanted: ReplayOptions
) -> tuple[Window, EventTimes | None]:
    """The span, and the times of the events in files if they were read; for a few windows they are not."""
    start, end = wanted.start, wanted.end
    is_named = start is not None and end is not None
    if tools.files is None and not is_named:
        raise SettingsError("replay of a cluster needs --from and --to")
    if start is not None and end is not None:
        _require_order(start, end)
        few = ReplayPlan(rules, Window(start, end)).count <= WINDOWS_AT_A_TIME
        if tools.files is None or few:
            return Window(start, end), None
    assert tools.files is not None
    selecting = {time_fields(compiled.rule) for compiled in rules}
    times = await tools.files.times(selecting)
    if not is_named and (times.oldest is None or times.newest is None):
        fields = named(selecting)
        raise SettingsError(f"no event with a readable {fields} was found in the events: name --from and --to")
    start = start or from_nanoseconds(times.oldest or 0)
    end = end or from_nanoseconds(times.newest or 0)
    _require_order(start, end)
    return Window(start, end), times


def _require_order(start: datetime, end: datetime) -> None:
    if start > end:
        raise SettingsError(f"--from {iso(start)} is not before --to {iso(end)}: nothing lies between them")
    for name, moment in (("--from", start), ("--to", end)):
        if not EARLIEST <= moment < LATEST:
            raise SettingsError(f"{name} {iso(moment)}: no event is read of a time before 1678 or after 2261")


def _identity(settings: Settings, rules: Sequence[Rule], span: Window) -> str:
    """All that decides what a replay finds: where the events are, of files their state, the rules, the span."""
    places: list[object] = [*settings.elasticsearch_hosts, settings.elasticsearch_cloud_id, settings.alerts_alias]
    for name in (*settings.events, *settings.indicators):
        path = Path(name)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            status = file.stat()
            places += [file.absolute(), status.st_size, status.st_mtime_ns]
    searched = [f"{rule.rule_id} {rule.fingerprint} {rule.max_signals}" for rule in rules]
    return identity_of([*places, stores_in_cluster(settings), settings.on_cap, settings.space, span, *searched])


def _begun(journal: Journal | None, identity: str, windows: int, *, anew: bool) -> Done:
    """What an earlier start of the same replay has done. Without a journal it cannot be gone on with, no more."""
    if journal is None:
        return Done()
    try:
        done = journal.begin(identity, anew=anew)
    except StoreError as error:
        warn(f"{error}; if it is interrupted, this replay will begin anew")
        return Done()
    if count := min(windows, len(done.windows)):
        say(f"going on: {count:,} of {windows:,} windows were searched before (--restart begins anew)")
    return done


def _say_how_to_go_on(outcome: ReplayOutcome, journal: Journal | None, stop: Stop) -> None:
    if not outcome.stopped and not outcome.failed:
        return
    span = f"--from {iso(outcome.span.start)} --to {iso(outcome.span.end)}"
    if outcome.stopped:
        searched = f"{stop}: {outcome.left:,} of {outcome.windows:,} windows are not searched"
        again = "run it again" if outcome.dry_run or journal is None else f"run it again with {span} to go on"
        say(f"{searched}; {again}", "yellow")
    elif journal is not None:
        say(f"windows failed; run it again with {span} to search those alone", "yellow")
