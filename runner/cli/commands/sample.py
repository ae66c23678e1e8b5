"""`rule-runner sample`: sample events for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runner.cli.console import counted, moment, progress_bar, say
from runner.cli.exit_codes import ExitCode
from runner.errors import SettingsError
from runner.rules.date_math import read_duration, resolve
from runner.sample_data.write import write_sample
from runner.windows import from_nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePlan:
    """The options of a sample."""

    out: str
    events: int
    attacks: int
    seed: int
    truth: Path | None
    near_misses: int | None
    rule: str | None
    hits: bool


def sample(plan: SamplePlan, end: str, *, span: str | None) -> ExitCode:
    """Write the events, the newest at the time `end` (date math)."""
    try:
        last = resolve(end, datetime.now(UTC))
        length: timedelta | None = read_duration(span) if span is not None else None
    except ValueError as error:
        raise SettingsError(str(error)) from None
    with progress_bar("writing events", lambda: plan.events) as advance:
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            advance(count - done)
            done = count

        summary = write_sample(
            "-" if plan.out == "-" else Path(plan.out),
            events=plan.events,
            attacks=plan.attacks,
            seed=plan.seed,
            end=last,
            truth=plan.truth,
            span=length,
            near_misses=plan.near_misses,
            rule=plan.rule,
            hits=plan.hits,
            progress=progress,
        )
    times = f"{moment(from_nanoseconds(summary.first))} to {moment(from_nanoseconds(summary.last))} UTC"
    planted = (
        f"{counted(summary.attacks, 'attack')} and {summary.near_misses:,} near miss{'es' * (summary.near_misses != 1)}"
    )
    say(f"{counted(summary.events, 'event')} of {counted(summary.hosts, 'host')}, {times}, with {planted}: {plan.out}")
    return ExitCode.FINE
