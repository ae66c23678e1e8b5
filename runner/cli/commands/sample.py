"""`rule-runner sample`: sample events for the rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runner.cli.console import counted, moment, progress_bar, say
from runner.cli.exit_codes import ExitCode
from runner.errors import SettingsError
from runner.rules.date_math import read_duration
from runner.sample_data.write import SampleSummary, write_sample
from runner.settings.moments import read_moment
from runner.windows import from_nanoseconds


def sample(out: str | None, events: int, *, end: str, span: str | None, **planted: Any) -> ExitCode:
    """Write the events to a file, the newest at the time `end`; `planted` is as `write_sample` takes it."""
    if out is None:
        raise SettingsError("--out FILE or --to-cluster is needed: where the events are written to; --help shows more")
    last, length = read_times(end, span)
    with progress_bar("writing events", lambda: events) as advance:
        summary = write_sample(
            "-" if out == "-" else Path(out),
            events=events,
            end=last,
            span=length,
            progress=steps_of(advance),
            **planted,
        )
    tell(summary, out)
    return ExitCode.FINE


def read_times(end: str, span: str | None) -> tuple[datetime, timedelta | None]:
    """The time of the newest event, and the length of the whole. Raises SettingsError."""
    try:
        last = read_moment(end, datetime.now(UTC))
    except ValueError as error:
        raise SettingsError(f"--end: {error}") from None
    try:
        return last, read_duration(span) if span is not None else None
    except ValueError as error:
        raise SettingsError(f"--span: {error}") from None


def steps_of(advance: Callable[[int], None]) -> Callable[[int], None]:
    """What takes the count so far, and tells how many more that is than the last time."""
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        advance(count - done)
        done = count

    return progress


def tell(summary: SampleSummary, out: str) -> None:
    """Say what was written, and where."""
    times = f"{moment(from_nanoseconds(summary.first))} to {moment(from_nanoseconds(summary.last))} UTC"
    attacks = (
        f"{counted(summary.attacks, 'attack')} and {summary.near_misses:,} near miss{'es' * (summary.near_misses != 1)}"
    )
    older = f" and {summary.older} of the day before" if summary.older else ""
    fleet = f"{counted(summary.events, 'event')} of {counted(summary.hosts, 'host')}"
    say(f"{fleet}, {times}{older}, with {attacks}: {out}")
