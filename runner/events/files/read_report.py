"""`ReadReport`: what was read of event files, and what could not be."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from runner.events.fields.timestamp_column import NO_TIME

MAX_LINE = 32 << 20
"""Longer lines are skipped and reported: no event is that long, and one of them must not fill the memory."""
MOST_EXAMPLES = 5
"""Of each kind of line without an event so many are told with their places."""


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What was read: events, and lines that hold none. `examples` are the first few broken lines, ready to print."""

    files: int = 0
    events: int = 0
    broken: int = 0
    oversized: int = 0
    untimed: int = 0
    newest_ns: int | None = None
    """The newest timestamp read, nanoseconds since 1970."""
    oldest_ns: int | None = None
    examples: tuple[str, ...] = ()
    oversized_examples: tuple[str, ...] = ()
    """The first few lines that were too long, as `file:line`."""
    failures: tuple[str, ...] = ()
    """Files that are damaged and were read as far as that is possible, each with the reason."""
    unread: tuple[str, ...] = ()
    """Files and folders that are there and could not be read, each with the reason: what they hold is still owed."""

    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the input, one sentence each."""
        said = [*self.unread, *self.failures]
        if self.broken:
            said.append(f"{self.broken:,} broken line{'s' * (self.broken > 1)} skipped: " + "; ".join(self.examples))
        if self.oversized:
            lines = f"{self.oversized:,} line{'s' * (self.oversized > 1)} over {MAX_LINE >> 20} MiB skipped"
            said.append(f"{lines}: {'; '.join(self.oversized_examples)}")
        if self.untimed:
            said.append(f"{self.untimed:,} event{'s' * (self.untimed > 1)} without a readable timestamp")
        return tuple(said)


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line that holds no event: the number of its file and its own, from 1, where it begins, and what is wrong with
    it; an empty reason means that it is too long."""

    file: int
    line: int
    offset: int
    reason: str


@dataclass(slots=True)
class Counts:
    """What is counted of one reading, or of a part of a file."""

    events: int = 0
    broken: int = 0
    oversized: int = 0
    untimed: int = 0
    newest: int = NO_TIME
    oldest: int = np.iinfo(np.int64).max
    skipped: list[SkippedLine] = field(default_factory=list)
    """The first few lines of each kind that hold no event."""
    failures: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    told: list[int] = field(default_factory=lambda: [0, 0])
    """How many broken and too long lines were counted here, one by one."""

    def skip(self, line: SkippedLine) -> None:
        """Count a line that holds no event."""
        if line.reason:
            self.broken += 1
        else:
            self.oversized += 1
        told = self.told[line.reason == ""] = self.told[line.reason == ""] + 1
        if told <= MOST_EXAMPLES:
            self.skipped.append(line)

    def add(self, other: Counts) -> None:
        """Count what another one has counted."""
        self.events += other.events
        self.broken += other.broken
        self.oversized += other.oversized
        self.untimed += other.untimed
        self.newest = max(self.newest, other.newest)
        self.oldest = min(self.oldest, other.oldest)
        self.skipped.extend(other.skipped)
        self.failures.extend(other.failures)
        self.unread.extend(other.unread)

    def examples(self, names: list[str], *, oversized: bool) -> tuple[str, ...]:
        """The first few broken or oversized lines in the order of the files; `names` are what stands before the number
        of a line of each file."""
        lines = sorted(
            (line for line in self.skipped if (line.reason == "") is oversized), key=lambda line: (line.file, line.line)
        )
        shown = [f"{names[line.file]}{line.line}" + (f": {line.reason}" if line.reason else "") for line in lines]
        return tuple(shown[:MOST_EXAMPLES])
