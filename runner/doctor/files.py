"""Checks of event files in one pass: readable lines, timestamps, and the rules' fields and indices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from runner.doctor.checks import Check, CheckResult, names_of, ok, spoken
from runner.doctor.hosts import CurrentTime
from runner.doctor.indices import AHEAD, NEWEST, lag_check
from runner.errors import EventsError
from runner.events.columns.batch import Columns
from runner.events.columns.event_groups import STREAM_FIELDS, EventGroups
from runner.events.fields.index_patterns import index_selector
from runner.events.fields.schema import Field, Schema, shipped_schema
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.event_files import EventFiles, ReadProgress, ReadReport, unreported
from runner.events.files.event_times import NewestTimes
from runner.file_formats.inner_events import InnerEvents
from runner.messages.quantities import counted
from runner.rules.rule import Rule
from runner.search.compiled_rule import compile_rules, time_fields
from runner.search.files.file_search import date_field
from runner.windows import from_nanoseconds, nanoseconds

_INGESTED = "event.ingested"
_BROKEN_NOTED = 0.01
"""Share of broken lines without a warning: a line is truncated now and then. Chosen, not measured."""


def check_files(
    paths: Sequence[str | Path],
    rules: Sequence[Rule],
    *,
    now: CurrentTime,
    progress: ReadProgress = unreported,
    inner: InnerEvents | None = None,
) -> list[Check]:
    """The checks of the files' lines, of the age of their events, and of the rules' fields and indices."""
    try:
        files = EventFiles(paths, inner=inner)
    except EventsError as error:
        return [Check("files", error.path, "problem", str(error), "correct --events (RUNNER_EVENTS)")]
    with files:
        found = _Pass(rules)
        found.read(files, progress, now=now)
        report = files.report()
        if not report.events:
            text = f"no events in {counted(report.files, 'file')}"
            return [*_line_checks(report), Check("files", "events", "problem", text, "name files that hold events")]
        return [*_line_checks(report), *found.time_checks(now=now), *found.checks()]


class _Pass:
    """One pass over all events: the rules' fields without a value so far, and the data streams of the events."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        schema = Schema(shipped_schema().fields, lenient=True)
        self._rules = rules
        self._fields: dict[Rule, frozenset[str]] = {}
        columns: dict[str, Field] = {}
        for compiled in compile_rules(rules)[0]:
            program, _ = compiled.resolved(schema)
            if program is not None:
                own = {field.name: field for field in program.plan.fields()}
                self._fields[compiled.rule] = frozenset(own)
                columns |= own
        times = {"@timestamp", _INGESTED, *(name for rule in rules for name in time_fields(rule))}
        self._unseen = set(columns)
        self._columns = Columns([*columns.values(), *(date_field(schema, name) for name in sorted(times))])
        self._streams = EventGroups(STREAM_FIELDS)
        self._newest = NewestTimes(NEWEST)

    def read(self, files: EventFiles, progress: ReadProgress, *, now: CurrentTime) -> None:
        latest = nanoseconds(now() + AHEAD)
        for batch in files.batches(self._columns, progress=progress):
            rows = batch.all_rows()
            batch.groups(self._streams)
            self._newest.add(batch.timestamps("@timestamp"), batch.timestamps(_INGESTED), latest=latest)
            self._unseen -= {
                name for name in self._unseen if any(value is not None for value in batch.values(name, rows))
            }

    def time_checks(self, *, now: CurrentTime) -> list[Check]:
        """The age of the newest event, the events that are ahead of the clock, and how late events are ingested."""
        checks = []
        if self._newest.ahead:
            found = f"{counted(self._newest.ahead, 'event')} ahead of our time: in no window until then"
            checks.append(Check("clock", "events", "warning", found, "set the clocks of the hosts"))
        if self._newest.newest != NO_TIME:
            checks += _age_checks(now() - from_nanoseconds(self._newest.newest), self._rules)
        lags = [timedelta(microseconds=lag // 1_000) for lag in self._newest.lags]
        if (longest := max(lags, default=timedelta(0))) > timedelta(0):
            checks.append(lag_check("events", lags, self._rules, longest=longest))
        return checks

    def checks(self) -> list[Check]:
        """The fields and indices of rules that no event has."""
        checks = []
        streams = {self._streams.stream(code) for code in range(len(self._streams))}
        selectors = {rule.index: index_selector(rule.index) for rule in self._rules}
        blind = {index for index, selects in selectors.items() if not any(map(selects, streams))}
        for index in sorted(blind):
            concerned = names_of(rule for rule in self._rules if rule.index == index)
            found = "no event is of these indices: these rules see none"
            remedy = "add files with such events, or correct `index` in the rules"
            checks.append(Check("index", ", ".join(index), "warning", found, remedy, concerned))
        for name in sorted(self._unseen):
            seeing = [rule for rule, names in self._fields.items() if name in names and rule.index not in blind]
            if seeing:
                found = "no event has this field: what the rules say of it is never true"
                remedy = "see whether the events are complete, and of the right kind"
                checks.append(Check("field", name, "warning", found, remedy, names_of(seeing)))
        if not checks:
            checks.append(ok("field", "events", f"every field that {len(self._rules)} rules read is there"))
        return checks


def _line_checks(report: ReadReport) -> list[Check]:
    checks = [Check("files", "unread", "problem", text, "make it readable") for text in report.unread]
    checks += [Check("files", "damaged", "warning", text, "read as far as possible") for text in report.failures]
    checks += [Check("files", "notes", "warning", text) for text in report.notes]
    lines = report.events + report.broken + report.oversized
    lost = report.broken + report.oversized
    if lost:
        found = f"{lost:,} of {lines:,} lines ({lost / lines:.1%}) hold no event: {'; '.join(report.examples)}"
        outcome: CheckResult = "problem" if lost == lines else "warning" if lost / lines > _BROKEN_NOTED else "ok"
        checks.append(
            Check("files", "lines", outcome, found, "expected NDJSON: a document or a search hit on each line")
        )
    if report.untimed:
        found = f"{report.untimed:,} of {report.events:,} events have no readable timestamp: no window holds them"
        checks.append(Check("files", "timestamps", "warning", found, "expected a date in `@timestamp`"))
    if report.events:
        checks.append(ok("files", "events", f"{counted(report.events, 'event')} in {counted(report.files, 'file')}"))
    return checks


def _age_checks(age: timedelta, rules: Sequence[Rule]) -> list[Check]:
    found = (
        f"the newest event is {spoken(age)} old" if age >= timedelta(0) else f"the newest event is {spoken(age)} ahead"
    )
    past = [rule for rule in rules if age > rule.look_back]
    if not past:
        return [ok("events", "newest", found)]
    text = f"{found}: further back than these rules look ({spoken(max(rule.look_back for rule in past))})"
    remedy = "`once --now latest` takes the newest event for now, `replay` searches their whole span"
    return [Check("events", "newest", "warning", text, remedy, names_of(past))]
