"""What a replay found: the noise of each rule, and its alerts hour by hour, as tables and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

from runner.cli.console import counted, is_narrow, moment, out, print_json, print_table, table
from runner.rule_run import RuleRun
from runner.rules.rule import Rule
from runner.service.replay import hour_of
from runner.windows import Window, iso

_DAY = timedelta(days=1)
_STEPS_H = (1, 2, 3, 4, 6, 8, 12, 24, 48, 168)
"""Hours that one column may stand for."""
_COLUMNS, _COLUMNS_NARROW = 24, 8


@dataclass(slots=True)
class RuleTally:
    """What the runs of one rule came to."""

    windows: int = 0
    matches: int = 0
    created: int = 0
    duplicates: int = 0
    suppressed: int = 0
    capped: int = 0
    failed: int = 0
    per_hour: Counter[datetime] = field(default_factory=Counter)
    """New alerts by the full hour in which the window that found them ends."""
    messages: dict[str, None] = field(default_factory=dict)

    def add(self, run: RuleRun) -> None:
        self.windows += 1
        self.matches += run.matches
        self.created += run.created
        self.duplicates += run.duplicates
        self.suppressed += run.suppressed
        self.capped += run.capped
        self.failed += run.status == "failed"
        if run.created:
            self.per_hour[hour_of(run.window)] += run.created
        self.messages.update(dict.fromkeys(run.messages))


@dataclass(slots=True)
class ReplayOutcome:
    """What a replay came to, also one that goes on where another was stopped."""

    span: Window
    rules: tuple[Rule, ...]
    dry_run: bool
    windows: int
    """All of the span, of all rules."""
    left: int = 0
    """Those of them that were not searched."""
    stopped: bool = False
    tallies: dict[str, RuleTally] = field(default_factory=dict)

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
    """Print it as `json`, or as tables: the noisiest rules first, those that found nothing in one line."""
    if form == "json":
        print_json(_as_json(outcome))
        return
    console = out()
    searched = "" if not outcome.left else f", {outcome.windows - outcome.left:,} of {outcome.windows:,} windows"
    console.print(f"Replayed {moment(outcome.span.start)} to {moment(outcome.span.end)} UTC{searched}")
    told = [rule for rule in outcome.rules if _is_telling(outcome.tally(rule.rule_id))]
    told.sort(key=lambda rule: (-outcome.tally(rule.rule_id).created, rule.name))
    if told:
        _print_noise(outcome, told)
    if quiet := len(outcome.rules) - len(told):
        console.print(f"{counted(quiet, 'other rule' if told else 'rule')} found nothing.")
    firing = [rule for rule in told if outcome.tally(rule.rule_id).created]
    if firing:
        console.print()
        _print_hours(outcome, firing)
    for rule in outcome.rules:
        for text in outcome.tally(rule.rule_id).messages:
            console.print(Text(f"{rule.name}: {text}", style="yellow"), soft_wrap=True)
    wrote = "would have been made" if outcome.dry_run else "made"
    console.print(f"{counted(outcome.created, 'alert')} {wrote}.")


def _is_telling(tally: RuleTally) -> bool:
    return bool(tally.matches or tally.created or tally.duplicates or tally.capped or tally.failed)


def _print_noise(outcome: ReplayOutcome, rules: Sequence[Rule]) -> None:
    columns = ["rule", "windows", "alerts", "a day", "most in an hour", "hour (UTC)"]
    columns += [] if is_narrow() else ["known", "over cap", "failed"]
    page = table(*columns, right=[*columns[1:5], "known", "over cap", "failed"])
    for rule in rules:
        tally = outcome.tally(rule.rule_id)
        hour, most = max(tally.per_hour.items(), key=lambda item: (item[1], -item[0].timestamp()), default=(None, 0))
        counts = (tally.windows, tally.created, _a_day(tally.created, outcome.span), most)
        rest = (tally.duplicates, tally.capped, tally.failed)
        cells: list[Text | str] = [Text(rule.name), *map(str, counts), moment(hour), *map(str, rest)]
        page.add_row(*cells[: len(columns)])
    print_table(page)


def _a_day(count: int, span: Window) -> str:
    """How many that is a day; of less than a day nothing can be said."""
    return f"{count / (span.length / _DAY):.1f}" if span.length >= _DAY else "-"


def _print_hours(outcome: ReplayOutcome, rules: Sequence[Rule]) -> None:
    """A row for each rule and a column for each hour, or for several where there are too many."""
    most = _COLUMNS_NARROW if is_narrow() else _COLUMNS
    first, last = hour_of(Window(outcome.span.start, outcome.span.start)), hour_of(outcome.span)
    hours = (last - first) // timedelta(hours=1) + 1
    step = next((step for step in _STEPS_H if -(-hours // step) <= most), _STEPS_H[-1])
    start = _floored(first, step)
    starts = [start + number * timedelta(hours=step) for number in range((last - start) // timedelta(hours=step) + 1)]
    headings = _headings(starts, step)
    page = table("rule", *headings, "all", right=[*headings, "all"])
    for name, per_hour in [
        *((rule.name, outcome.tally(rule.rule_id).per_hour) for rule in rules),
        ("all", outcome.per_hour),
    ]:
        counts: Counter[int] = Counter()
        for hour, count in per_hour.items():
            counts[(hour - start) // timedelta(hours=step)] += count
        cells = [str(counts[number]) if counts[number] else "." for number in range(len(starts))]
        page.add_row(Text(name), *cells, str(per_hour.total()))
    each = "hour" if step == 1 else f"{step} hours" if step < 24 else "day" if step == 24 else f"{step // 24} days"
    out().print(f"Alerts for each {each} that begins at (UTC):")
    print_table(page)


def _floored(hour: datetime, step: int) -> datetime:
    """The beginning of the column that an hour is in; columns begin at midnight, or whole steps from it."""
    midnight = hour.astimezone(UTC).replace(hour=0)
    return midnight + (hour - midnight) // timedelta(hours=step) * timedelta(hours=step)


def _headings(starts: Sequence[datetime], step: int) -> list[str]:
    """The hour, and the date where it changes; each heading but once, as a table's columns are known by them."""
    headings = []
    for number, start in enumerate(starts):
        is_new = number == 0 or start.date() != starts[number - 1].date()
        headings.append(f"{start:%m-%d}" if step >= 24 else f"{start:%m-%d %H}" if is_new else f"{start:%H}")
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
    }


def _tally_json(rule: Rule, tally: RuleTally) -> dict[str, Any]:
    return {
        "rule_id": rule.rule_id,
        "name": rule.name,
        "windows": tally.windows,
        "matches": tally.matches,
        "created": tally.created,
        "duplicates": tally.duplicates,
        "suppressed": tally.suppressed,
        "capped": tally.capped,
        "failed": tally.failed,
        "per_hour": {iso(hour): count for hour, count in sorted(tally.per_hour.items())},
        "messages": list(tally.messages),
    }
