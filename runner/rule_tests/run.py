"""Runs of rule tests: each as a live run, over its own events and into a store in memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson

from runner.alerts.build import AlertContext
from runner.alerts.event_fields import FieldTypes, value_at
from runner.eql.explain.event_verdict import StageVerdict
from runner.errors import RunnerError
from runner.events.fields.schema import Schema, shipped_schema
from runner.exceptions import Exceptions
from runner.rule_tests.case import RuleCase
from runner.rule_tests.counted import counted_ids
from runner.rule_tests.excepted import TestedExceptions
from runner.rule_tests.missing_alert import MissingReasons, missing_reasons
from runner.rule_tests.outcome import Difference, MadeAlert, TestOutcome, differences
from runner.rule_tests.seen_times import outside
from runner.rules.load import why_not
from runner.rules.new_terms import new_terms_of
from runner.rules.threat_match import threat_match_of
from runner.schedule.schedule import window_at
from runner.search.compiled_rule import CompiledRule, compile_rules, time_fields
from runner.search.files.file_search import FileSearch
from runner.search.filter_conditions import with_filters
from runner.search.protocol import SearchRequest
from runner.search.threshold_keys import threshold_of
from runner.selection import OFF, OverrideFiles, SelectedRules, select_rules
from runner.service.execution import Execution, size_for
from runner.service.rules_in_use import excepting_at
from runner.store.memory import MemoryStore
from runner.store.protocol import AlertFilter, StoredAlert
from runner.windows import Window, from_nanoseconds

_MOST_LATE = 5
"""Events outside of the window that are told."""
_INLINE = "events.ndjson"
_HISTORY = "history.ndjson"
_INDICATORS = "indicators.ndjson"


class CannotRunError(RunnerError):
    """A test cannot be run because of its rule or its events."""


async def run_tests(
    cases: Sequence[RuleCase], overrides: OverrideFiles | None = None, exceptions: Exceptions | None = None
) -> AsyncGenerator[TestOutcome, None]:
    """The outcomes of the tests in order; one that cannot be run does not stop the others.

    The `exceptions` apply to the tests that ask for them.
    """
    changing = overrides if overrides is not None else OverrideFiles()
    rules: dict[Path, tuple[CompiledRule | None, str]] = {}
    for case in cases:
        if case.rule_path not in rules:
            rules[case.rule_path] = await _rule_of(case.rule_path, changing)
        compiled, trouble = rules[case.rule_path]
        if compiled is None:
            yield TestOutcome(case, "", case.rule_path.stem, "error", (trouble,))
        else:
            yield await run_test(case, compiled, exceptions if exceptions is not None else Exceptions())


async def run_test(case: RuleCase, compiled: CompiledRule, exceptions: Exceptions) -> TestOutcome:
    """The outcome of one test of a rule."""
    started = time.perf_counter()
    status: Literal["passed", "failed", "error"]
    try:
        messages, verdicts = await _messages(case, compiled, exceptions)
        status = "failed" if messages else "passed"
    except (RunnerError, OSError, ValueError, TypeError) as error:
        messages, verdicts, status = (str(error),), (), "error"
    took_ms = round((time.perf_counter() - started) * 1000)
    return TestOutcome(case, compiled.rule.rule_id, compiled.rule.name, status, messages, took_ms, verdicts)


async def _rule_of(path: Path, overrides: OverrideFiles) -> tuple[CompiledRule | None, str]:
    """The rule of a file if it can be run, else None and the reason."""
    files = [file.path for file in overrides.files] or [OFF]
    loaded = select_rules([path], files, previous=SelectedRules(overrides=overrides), place="files").loaded
    compiled, faults = compile_rules(loaded.rules)
    problems = [problem for problem in loaded.errors if problem.file == path] or faults
    problems = problems or [p for p in await FileSearch(()).prepare(compiled) if p.severity == "error"]
    if problems:
        return None, "the rule has problems: " + "; ".join(map(str, problems))
    if not loaded.rules:
        return None, f"{path} holds {why_not(loaded.unsupported[0].type) if loaded.unsupported else 'no rule'}"
    if compiled[0].withheld:
        return None, f"the rule cannot be run: {compiled[0].withheld}"
    return compiled[0], ""


_Verdicts: TypeAlias = tuple[tuple[str, StageVerdict], ...]


async def _messages(
    case: RuleCase, compiled: CompiledRule, exceptions: Exceptions
) -> tuple[tuple[str, ...], _Verdicts]:
    """The differences of the rule's alerts, and of what is excepted, from what the test expects; the events judged."""
    with tempfile.TemporaryDirectory(prefix="rule-runner-test-") as folder:
        paths = list(case.event_files())
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise CannotRunError(f"no such event file: {', '.join(missing)}")
        paths += _written(Path(folder, _INLINE), case.documents())
        history = _written(Path(folder, _HISTORY), case.history())
        indicators = _written(Path(folder, _INDICATORS), case.indicators())
        search = FileSearch([*paths, *history], names_unknown=False, indicators=indicators)
        try:
            window = await _window_of(case, compiled, paths)
            if not case.test.has_exceptions:
                made = await _made(compiled, search, window)
                return _told(case, differences(case.test, made), compiled, window=window)
            at = case.test.now or window.end
            compiled = excepting_at(compiled, exceptions, at)
            made = await _made(compiled, search, window)
            dropped = await _dropped(compiled, search, window, made)
        finally:
            await search.close()
        tested = TestedExceptions(compiled, exceptions, tuple(paths), window, at, dropped)
        faults = tested.faults(case.test.excepted or ())
        found = differences(case.test, made)
        named = {one.event for one in case.test.excepted or ()}
        named.update(event for one in found if one.missing is not None for event in one.missing.events)
        others = tested.takings(named) if found else ()
        told, verdicts = _told(case, found, compiled, window=window, tested=tested)
        return (*told, *faults, *others), verdicts


def _told(
    case: RuleCase,
    found: Sequence[Difference],
    compiled: CompiledRule,
    *,
    window: Window,
    tested: TestedExceptions | None = None,
) -> tuple[tuple[str, ...], _Verdicts]:
    """The differences, each with the reasons for a missing alert, and the verdicts on the events of these."""
    messages: list[str] = []
    verdicts: list[tuple[str, StageVerdict]] = []
    for difference in found:
        messages.append(difference.text)
        wanted = difference.missing.events if difference.missing is not None else None
        if wanted is None and len(found) == 1 and case.test.alert_count:
            wanted = ()  # nothing was found, and no events are named
        if wanted is None:
            continue
        taken = tested.takings(only=wanted) if tested is not None and wanted else ()
        why = MissingReasons(taken) if taken else _reasons(compiled, wanted, case, window)
        messages.extend(f"  {reason}" for reason in why.reasons)
        verdicts.extend(why.verdicts)
    return tuple(messages), tuple(verdicts)


async def _dropped(
    compiled: CompiledRule, search: FileSearch, window: Window, made: Sequence[MadeAlert]
) -> tuple[tuple[str, ...], ...]:
    """The events of each alert that exceptions of scope alert have left out."""
    items = tuple(item for item in compiled.exceptions if item.scope != "alert")
    if items == compiled.exceptions:
        return ()
    left = {alert.events for alert in made}
    whole = await _made(replace(compiled, exceptions=items), search, window)
    return tuple(alert.events for alert in whole if alert.events not in left)


def _reasons(compiled: CompiledRule, expected: Sequence[str], case: RuleCase, window: Window) -> MissingReasons:
    """Why events, by their ids, make no alert; without ids why none of all events do."""
    schema = Schema(shipped_schema().fields, lenient=True)
    program = with_filters(compiled.bare_program(schema), compiled.rule, schema)
    documents = case.documents()
    if not case.test.files:
        ids = {str(value_at(document, "event.id")) for document in documents}
        unknown = tuple(f"no event of this test has the event.id {name}" for name in expected if name not in ids)
        if unknown:
            return MissingReasons(unknown)
    found = missing_reasons(program.plan, expected, documents, now_ns=window.end_ns)
    if case.test.now is not None:
        times = time_fields(compiled.rule)
        late = tuple(islice(outside(documents, expected, window, names=times, schema=schema), _MOST_LATE))
        found = replace(found, reasons=(*late, *found.reasons))
    if not found.reasons and expected and program.plan.kind == "sequence":
        text = "each event meets its stage: look at their join keys, their order, maxspan and until"
        return replace(found, reasons=(text,))
    if found.reasons or not documents:
        return found
    if compiled.rule.type == "new_terms":
        fields = ", ".join(new_terms_of(compiled.rule).fields)
        text = f"the event meets the query: it has no value of {fields}, or those were seen before it"
        return replace(found, reasons=(text,))
    if (condition := threat_match_of(compiled.rule)) is not None:
        fields = ", ".join(condition.event_fields)
        return replace(found, reasons=(f"the event meets the query: no indicator has its values of {fields}",))
    return found


def _written(file: Path, documents: Sequence[Mapping[str, Any]]) -> list[Path]:
    """The file with these documents; none without any."""
    if not documents:
        return []
    file.write_bytes(b"\n".join(map(orjson.dumps, documents)) + b"\n")
    return [file]


async def _window_of(case: RuleCase, compiled: CompiledRule, paths: Sequence[Path]) -> Window:
    """The window to search for a case, whose events beside its history lie in these files."""
    search = FileSearch(paths, names_unknown=False)
    try:
        window = await _window(compiled, search, case.test.now)
    finally:
        await search.close()
    if compiled.rule.type != "new_terms" or case.test.now is not None:
        return window
    # What is new comes after the start of its window; that of events of one moment would have no length.
    return Window(window.start - timedelta(milliseconds=1), window.end)


async def _window(compiled: CompiledRule, search: FileSearch, now: datetime | None) -> Window:
    """The window to search: that of a run at a time, or one over the time of all events."""
    await _prepare(compiled, search)
    selects_by, orders_by = time_fields(compiled.rule), (compiled.rule.timestamp_field or "@timestamp",)
    times = await search.times({selects_by, orders_by} if now is None else {selects_by})
    report = search.report
    if report.broken or report.unread or report.failures:
        raise CannotRunError("; ".join(report.warnings()))
    name = " or ".join(selects_by)
    if times.oldest is None or times.newest is None:
        raise CannotRunError(f"no event has a readable {name}")
    if report.untimed:
        # Such an event is in no window: a test that expects no alert would pass for that reason.
        count = "1 event has" if report.untimed == 1 else f"{report.untimed:,} events have"
        raise CannotRunError(f"{count} no readable {name}, so that no window holds them")
    if now is None:
        # The time of all events and the reach of a match at both ends, so that absences are decided, too.
        maxspan = compiled.reach.maxspan
        return Window(from_nanoseconds(times.oldest) - maxspan, from_nanoseconds(times.newest) + maxspan)
    return window_at(compiled, now)


async def _prepare(compiled: CompiledRule, search: FileSearch) -> None:
    problems = [p for p in await search.prepare([compiled]) if p.severity == "error"]
    if problems:
        raise CannotRunError("; ".join(map(str, problems)))


async def _made(compiled: CompiledRule, search: FileSearch, window: Window) -> list[MadeAlert]:
    """The alerts that the rule makes of the events of a window."""
    await _prepare(compiled, search)
    store = MemoryStore()
    context = AlertContext(now=window.end, execution_id="", types=FieldTypes.of(shipped_schema()))
    execution = Execution(search, store, store, clock=lambda: window.end, context=context)
    request = SearchRequest(compiled, window, size_for(compiled.rule))
    while True:
        [run] = [run async for run in execution.run([request])]
        if run.status == "failed":
            raise CannotRunError("; ".join(run.messages))
        if run.complete or not run.created:  # else the cap left alerts for the next run: a test needs all of them
            break
    counted = await counted_ids(search, request, store.groups, context.space) if threshold_of(compiled.rule) else {}
    return [await _alert(store, stored, counted) async for stored in store.find(AlertFilter())]


async def _alert(store: MemoryStore, stored: StoredAlert, counted: Mapping[str, tuple[str, ...]]) -> MadeAlert:
    """An alert with the ids of its events in order: those of its building blocks, or those `counted`, if it has any."""
    if stored.id in counted:
        return MadeAlert(counted[stored.id], stored.document)
    group = stored.document.get("kibana.alert.group.id")
    parts = await store.group(group) if group else [stored]
    return MadeAlert(tuple(str(part.document["kibana.alert.ancestors"][0]["id"]) for part in parts), stored.document)
