"""`rule-runner sample`: events to try the rules on."""

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
    """What is to be made."""

    out: str
    events: int
    attacks: int
    seed: int
    truth: Path | None
    near_misses: int | None
    rule: str | None
    hits: bool


def sample(plan: SamplePlan, end: str, *, span: str | None) -> ExitCode:
    """Write the events; the newest is of the time `end` (date math)."""
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

        made = write_sample(
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
    times = f"{moment(from_nanoseconds(made.first))} to {moment(from_nanoseconds(made.last))} UTC"
    planted = f"{counted(made.attacks, 'attack')} and {made.near_misses:,} near miss{'es' * (made.near_misses != 1)}"
    say(f"{counted(made.events, 'event')} of {counted(made.hosts, 'host')}, {times}, with {planted}: {plan.out}")
    return ExitCode.FINE
