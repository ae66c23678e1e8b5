"""The report of a replay: runs and alerts per rule, and alerts per hour, as tables and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

from runner.analyst.rule_report import RuleReport, report_on
from runner.cli.console import counted, is_narrow, moment, out, print_json, print_places, print_table, table
from runner.cli.pages.rule_report import print_rule_report
from runner.clock import SystemClock
from runner.rule_run import RuleRun, RunCost
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule
from runner.service.replay import hour_of
from runner.triage.noise import NoiseReport
from runner.windows import Window, iso, nanoseconds

_DAY = timedelta(days=1)
_STEPS_H = (1, 2, 3, 4, 6, 8, 12, 24, 48, 168)
"""Hours per column of the hourly table."""
_COLUMNS, _COLUMNS_NARROW = 24, 8
_WIDEST, _LONGEST_NAME = 200, 100
"""Characters of a line, and of a rule's name in it."""
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_NOISIEST = 5
"""Rules of which the report shows what their alerts have in common."""
_COUNTS = ("windows", "matches", "created", "duplicates", "suppressed", "capped", "failed")


@dataclass(slots=True)
class RuleTally:
    """The totals of a rule's runs."""

    windows: int = 0
    matches: int = 0
    created: int = 0
    duplicates: int = 0
    suppressed: int = 0
    capped: int = 0
    failed: int = 0
    took_ms: int = 0
    per_hour: Counter[datetime] = field(default_factory=Counter)
    """New alerts by the hour in which their window ends."""
    messages: dict[str, None] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether a run found something or failed."""
        return bool(self.matches or self.suppressed or self.created or self.duplicates or self.capped or self.failed)

    def add(self, run: RuleRun) -> None:
        self.windows += 1
        self.failed += run.status == "failed"
        self.messages.update(dict.fromkeys(run.messages))
        self.add_part(run)

    def add_part(self, run: RuleRun) -> None:
        """Add what was found of a window that is to be searched again."""
        self.took_ms += run.took_ms
        self.matches += run.matches
        self.created += run.created
        self.duplicates += run.duplicates
        self.suppressed += run.suppressed
        self.capped += run.capped
        if run.created:
            self.per_hour[hour_of(run.window)] += run.created

    def pass_over(self, count: int, *, failed: bool) -> None:
        """Add windows that hold no event, as far as is known; they `failed` if not all events could be read."""
        self.windows += count
        if failed:
            self.failed += count
            self.messages["a part of the events could not be read: windows without others are not searched"] = None


@dataclass(slots=True)
class ReplayOutcome:
    """The totals of a replay, including those of the interrupted one that it resumes."""

    span: Window
    rules: tuple[Rule, ...]
    dry_run: bool
    windows: int
    """The windows of all rules in the span."""
    left: int = 0
    """The windows not searched."""
    stopped: bool = False
    places: tuple[str, str] = ("", "")
    """Where the events come from and where the alerts go, as text."""
    tallies: dict[str, RuleTally] = field(default_factory=dict)
    noise: NoiseReport = field(default_factory=NoiseReport)
    """The alerts on events of the span, also those that were there before."""

    def report(self) -> RuleReport:
        """What these alerts have in common, with what was searched for them."""
        costs = {
            rule_id: RunCost(tally.windows, tally.failed, tally.matches, tally.suppressed, tally.took_ms)
            for rule_id, tally in self.tallies.items()
        }
        for rule_id, rule in self.noise.rules.items():  # what is counted into alerts after they are written
            rule.suppressed = max(rule.suppressed, self.tally(rule_id).suppressed)
        names = {rule.rule_id: rule.name for rule in self.rules}
        return report_on(
            self.noise,
            (nanoseconds(self.span.start), nanoseconds(self.span.end)),
            costs,
            names,
            now=SystemClock().now(),
        )

    def tally(self, rule_id: str) -> RuleTally:
        return self.tallies.setdefault(rule_id, RuleTally())

    @property
    def created(self) -> int:
        return sum(tally.created for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        return sum(tally.failed for tally in self.tallies.values())

    @property
    def per_hour(self) -> Counter[datetime]:
        """New alerts of all rules by hour."""
        return sum((tally.per_hour for tally in self.tallies.values()), Counter[datetime]())


def print_outcome(outcome: ReplayOutcome, form: str) -> None:
    """Print the report as `json`, or as tables: the noisiest rules first, those without findings in one line."""
    if form == "json":
        print_json(_as_json(outcome))
        return
    console = out()
    searched = "" if not outcome.left else f", {outcome.windows - outcome.left:,} of {outcome.windows:,} windows"
    console.print(f"Replayed {moment(outcome.span.start)} to {moment(outcome.span.end)} UTC{searched}")
    active = [rule for rule in outcome.rules if outcome.tally(rule.rule_id).is_active]
    active.sort(key=lambda rule: (-outcome.tally(rule.rule_id).created, rule.name))
    if active:
        _print_noise(outcome, active)
    if quiet := len(outcome.rules) - len(active):
        console.print(f"{counted(quiet, 'other rule' if active else 'rule')} found nothing.")
    firing = [rule for rule in active if outcome.tally(rule.rule_id).created]
    if firing:
        console.print()
        _print_hours(outcome, firing)
    for rule in outcome.rules:
        for text in outcome.tally(rule.rule_id).messages:
            console.print(Text(f"{rule.name}: {text}", style="yellow"), soft_wrap=True)
    wrote = "would have been made" if outcome.dry_run else "made"
    print_places(*outcome.places)
    console.print(f"{counted(outcome.created, 'alert')} {wrote}.")
    if outcome.noise.noisiest:
        console.print("\nWhat the alerts of the noisiest rules have in common (all: `--output json`):")
        print_rule_report(outcome.report(), most=_NOISIEST)


def _print_noise(outcome: ReplayOutcome, rules: Sequence[Rule]) -> None:
    columns = ["rule", "windows", "alerts", "a day", "most in an hour", "hour (UTC)"]
    suppressed = ["suppressed"] if any(outcome.tally(rule.rule_id).suppressed for rule in rules) else []
    columns += [] if is_narrow() else ["known", *suppressed, "over cap", "failed"]
    page = table(*columns, right=[*columns[1:5], "known", *suppressed, "over cap", "failed"])
    for rule in rules:
        tally = outcome.tally(rule.rule_id)
        hour, most = max(tally.per_hour.items(), key=lambda item: (item[1], -item[0].timestamp()), default=(None, 0))
        counts = (tally.windows, tally.created, _a_day(tally.created, outcome.span), most)
        more = (tally.suppressed,) if suppressed else ()
        details = (tally.duplicates, *more, tally.capped, tally.failed)
        cells: list[Text | str] = [Text(_name(rule)), *map(str, counts), moment(hour), *map(str, details)]
        page.add_row(*cells[: len(columns)])
    print_table(page)


def _a_day(count: int, span: Window) -> str:
    """The count per day; `-` for a span of less than a day."""
    return f"{count / (span.length / _DAY):.1f}" if span.length >= _DAY else "-"


def _print_hours(outcome: ReplayOutcome, rules: Sequence[Rule]) -> None:
    """Print a row per rule with a column per hour that has alerts, or per several hours if there are too many."""
    rows = [(_name(rule), outcome.tally(rule.rule_id).per_hour) for rule in rules]
    total = outcome.per_hour
    step, starts = _columns(outcome.span, total, room=_WIDEST - max(len(name) for name, _ in rows))
    headings = _headings(starts, step)
    page = table("rule", *headings, "all", right=[*headings, "all"])
    for name, per_hour in [*rows, ("all", total)]:
        counts: Counter[datetime] = Counter()
        for hour, count in per_hour.items():
            counts[_floored(hour, step)] += count
        cells = [str(counts[start]) if counts[start] else "." for start in starts]
        page.add_row(Text(name), *cells, str(per_hour.total()))
    each = "hour" if step == 1 else f"{step} hours" if step < 24 else "day" if step == 24 else f"{step // 24} days"
    out().print(f"Alerts for each {each} that begins at (UTC):")
    print_table(page)


def _columns(span: Window, per_hour: Counter[datetime], *, room: int) -> tuple[int, list[datetime]]:
    """The hours of a column, and the starts of those with alerts: as many as have room in a line, at most."""
    most = _COLUMNS_NARROW if is_narrow() else _COLUMNS
    hours = (hour_of(span) - hour_of(Window(span.start, span.start))) // timedelta(hours=1) + 1
    step = next((step for step in _STEPS_H if -(-hours // step) <= most), _STEPS_H[-1])
    digits = len(str(per_hour.total()))
    while True:
        starts = sorted({_floored(hour, step) for hour in per_hour})
        width = sum(2 + max(digits, len(heading)) for heading in [*_headings(starts, step), "all"])
        if len(starts) <= 1 or (len(starts) <= most and width <= room):
            return step, starts
        step = next((longer for longer in _STEPS_H if longer > step), 2 * step)


def _name(rule: Rule) -> str:
    return shortened(rule.name, _LONGEST_NAME)


def _floored(hour: datetime, step: int) -> datetime:
    """The start of an hour's column; columns start at midnight, or whole steps from it, those of days from a Monday."""
    midnight = hour.astimezone(UTC).replace(hour=0) if step < 24 else _MONDAY
    return midnight + (hour - midnight) // timedelta(hours=step) * timedelta(hours=step)


def _headings(starts: Sequence[datetime], step: int) -> list[str]:
    """The hour of each start, with the date if that changes; headings are unique, since columns are keyed by them."""
    headings = []
    day = "%Y-%m-%d" if starts and starts[0].year != starts[-1].year else "%m-%d"
    for index, start in enumerate(starts):
        is_new = index == 0 or start.date() != starts[index - 1].date()
        headings.append(start.strftime(day if step >= 24 else f"{day} %H" if is_new else "%H"))
    return headings


def _as_json(outcome: ReplayOutcome) -> dict[str, Any]:
    return {
        "window": {"from": iso(outcome.span.start), "to": iso(outcome.span.end)},
        "dry_run": outcome.dry_run,
        "stopped": outcome.stopped,
        "windows": outcome.windows,
        "left": outcome.left,
        "rules": [_tally_json(rule, outcome.tally(rule.rule_id)) for rule in outcome.rules],
        "per_hour": {iso(hour): count for hour, count in sorted(outcome.per_hour.items())},
        "created": outcome.created,
        "events": outcome.places[0],
        "alerts_to": outcome.places[1],
        "report": outcome.report().as_json(),
    }


def _tally_json(rule: Rule, tally: RuleTally) -> dict[str, Any]:
    return {
        "rule_id": rule.rule_id,
        "name": rule.name,
        **{name: getattr(tally, name) for name in _COUNTS},
        "per_hour": {iso(hour): count for hour, count in sorted(tally.per_hour.items())},
        "messages": list(tally.messages),
    }
