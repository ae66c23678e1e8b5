"""`ReadReport`: the counts of a pass over event files, and the lines and files that could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from runner.events.fields.timestamp_column import NO_TIME

MAX_LINE = 32 << 20
"""Bytes; longer lines are skipped and reported. No event is that long, and a line must not fill the memory."""
MOST_EXAMPLES = 5
"""Most skipped lines per kind that are reported with their places."""


@dataclass(frozen=True, slots=True)
class ReadReport:
    """The counts of events and of lines without one; `examples` are the first broken lines, as text."""

    files: int = 0
    events: int = 0
    broken: int = 0
    oversized: int = 0
    untimed: int = 0
    newest_ns: int | None = None
    """The newest timestamp, in nanoseconds since 1970."""
    oldest_ns: int | None = None
    examples: tuple[str, ...] = ()
    oversized_examples: tuple[str, ...] = ()
    """The first oversized lines, as `file:line`."""
    failures: tuple[str, ...] = ()
    """Damaged files, read up to the damage, each with the reason."""
    unread: tuple[str, ...] = ()
    """Existing files and folders that could not be read, each with the reason; their events are still owed."""
    moved: int = 0
    """The count of files that were renamed, deleted or truncated between listing and reading; or may have been."""
    left_out: tuple[str, ...] = ()
    """Files of folders and archives whose names look like events, but are none that are read."""
    notes: tuple[str, ...] = ()
    """What a user should know of files that were read to their end."""

    @property
    def is_whole(self) -> bool:
        """Whether every file was read to its end; if not, there may be events that nobody has seen."""
        return not self.unread and not self.failures

    def warnings(self) -> tuple[str, ...]:
        """The warnings for a user about the input, one sentence each."""
        texts = [*self.unread, *self.failures, *self.notes]
        if self.broken:
            texts.append(f"{self.broken:,} broken line{'s' * (self.broken > 1)} skipped: " + "; ".join(self.examples))
        if self.oversized:
            lines = f"{self.oversized:,} line{'s' * (self.oversized > 1)} over {MAX_LINE >> 20} MiB skipped"
            texts.append(f"{lines}: {'; '.join(self.oversized_examples)}")
        if self.untimed:
            texts.append(f"{self.untimed:,} event{'s' * (self.untimed > 1)} without a readable timestamp")
        return tuple(texts)


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line without an event; `file` is the index of its file."""

    file: int
    line: int
    """From 1."""
    offset: int
    reason: str
    """Empty for an oversized line."""


@dataclass(slots=True)
class Counts:
    """The counts of a pass, or of a split of a file."""

    events: int = 0
    broken: int = 0
    oversized: int = 0
    untimed: int = 0
    newest: int = NO_TIME
    oldest: int = np.iinfo(np.int64).max
    skipped: list[SkippedLine] = field(default_factory=list)
    """The first lines of each kind without an event."""
    failures: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    moved: int = 0
    outer: int = 0
    """Documents that hold no event where one is looked for."""
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    barren: dict[str, str] = field(default_factory=dict)
    """What is said of archives without any event file, by path."""
    skips: list[int] = field(default_factory=lambda: [0, 0])
    """The calls of `skip` for broken and for oversized lines."""

    def skip(self, line: SkippedLine) -> None:
        """Count a line without an event."""
        is_oversized = line.reason == ""
        self.broken += not is_oversized
        self.oversized += is_oversized
        self.skips[is_oversized] += 1
        if self.skips[is_oversized] <= MOST_EXAMPLES:
            self.skipped.append(line)

    def add(self, other: Counts) -> None:
        """Add the counts of another one."""
        self.events += other.events
        self.broken += other.broken
        self.oversized += other.oversized
        self.untimed += other.untimed
        self.newest = max(self.newest, other.newest)
        self.oldest = min(self.oldest, other.oldest)
        self.skipped.extend(other.skipped)
        self.failures.extend(other.failures)
        self.unread.extend(other.unread)
        self.moved += other.moved
        self.outer += other.outer
        self.notes.extend(other.notes)
        self.left_out.extend(other.left_out)
        self.barren.update(other.barren)

    def examples(self, names: Sequence[str], *, oversized: bool) -> tuple[str, ...]:
        """The first broken or oversized lines in file order, as text; `names` are the prefixes of line numbers."""
        lines = [line for line in self.skipped if (line.reason == "") is oversized]
        lines.sort(key=lambda line: (line.file, line.line))
        shown = [f"{names[line.file]}{line.line}" + (f": {line.reason}" if line.reason else "") for line in lines]
        return tuple(shown[:MOST_EXAMPLES])

    def report(self, names: Sequence[str], inner: Sequence[str]) -> ReadReport:
        """The counts as a report; `names` are what stands before the line numbers of each file, `inner` the fields in
        which documents were to hold the events."""
        subject = "1 document holds" if self.outer == 1 else f"{self.outer:,} documents hold"
        outer = [f"{subject} no JSON object in {' or '.join(inner)}: read as it stands"] if self.outer else []
        return ReadReport(
            files=len(names),
            events=self.events,
            broken=self.broken,
            oversized=self.oversized,
            untimed=self.untimed,
            newest_ns=None if self.newest == NO_TIME else self.newest,
            oldest_ns=None if self.newest == NO_TIME else self.oldest,
            examples=self.examples(names, oversized=False),
            oversized_examples=self.examples(names, oversized=True),
            failures=tuple(self.failures),
            unread=tuple(self.unread),
            moved=self.moved,
            left_out=tuple(self.left_out),
            notes=(*self.notes, *outer),
        )
