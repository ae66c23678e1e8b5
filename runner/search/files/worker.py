"""A worker process: finds the events of stages in splits of files.

It reads pickles from its standard input, a pipe from the process that started it: one `SplitSearch`, then splits. It
answers each split with one or more `SplitResult`s on its standard output, the last of them marked `is_last`, and ends
when its input does.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from runner import eql
from runner.engine.matcher import Handover
from runner.engine.repeats import Repeats
from runner.errors import EventsError
from runner.events.columns.batch import Columns
from runner.events.fields.schema import Field
from runner.events.files.event_stream import TimeWanted
from runner.events.files.kept_lines import KeptLines
from runner.events.files.line_blocks import unreported
from runner.events.files.read_report import Counts
from runner.events.files.splits import Split, SplitRead
from runner.garbage_collection import rarely_collecting
from runner.search.files.field_watch import FieldWatch

_CHUNK = 16 << 20
"""Bytes of a block of lines."""
_MUCH = 1 << 17
"""Entries held that are sent before the end of the split, to bound memory."""


@dataclass(frozen=True, slots=True)
class SplitSearch:
    """What all splits are searched for; lines that cannot be read again by offset are copied to `spool`."""

    asks: tuple[eql.Ask, ...]
    fields: tuple[Field, ...]
    wanted: TimeWanted
    spool: Path
    watch: FieldWatch = field(default_factory=lambda: FieldWatch(()))
    keeps_excluded: bool = False


@dataclass(frozen=True, slots=True)
class SplitResult:
    """What was found in a split, or in a piece of it."""

    handover: Handover
    read: SplitRead
    is_last: bool
    fields_found: frozenset[str] = frozenset()
    watch_is_whole: bool = True
    streams: Mapping[str | None, int] = field(default_factory=dict)
    """The indices and data streams of the events, with counts."""


class Worker:
    """Searches splits, one after the other; the matcher keeps what it has learnt of the events."""

    def __init__(self, job: SplitSearch) -> None:
        self._job = job
        self._matcher = eql.Matcher(job.asks, repeats=Repeats(), keeps_excluded=job.keeps_excluded)
        self._columns = Columns([*self._matcher.fields(), *job.fields])
        self._kept = KeptLines(lambda path: None, spool=job.spool)

    def findings(self, part: Split) -> Iterator[SplitResult]:
        """What is found in a split, in pieces."""
        stream = part.stream()
        for block in stream.blocks(self._job.wanted, None, chunk=lambda: _CHUNK, progress=unreported):
            batch = stream.batch(self._columns, block, self._job.wanted)
            if not len(batch):
                continue
            self._job.watch.look(batch)
            rows = self._matcher.feed(batch)
            self._job.watch.look_at_streams(batch)
            if len(rows):
                self._kept.keep(batch, rows, block=block, source=stream.source(is_shared=True))
            if self._matcher.held() > _MUCH:
                read = SplitRead(Counts(), 0, stream.progress.newest, stream.progress.disorder, self._kept.hand_over())
                yield SplitResult(self._matcher.hand_over(), read, is_last=False)
        read = SplitRead(
            stream.counts, stream.lines, stream.progress.newest, stream.progress.disorder, self._kept.hand_over()
        )
        watch = self._job.watch
        found = frozenset(watch.found), watch.is_whole, dict.fromkeys(watch.streams, 0) | watch.counts()
        yield SplitResult(self._matcher.hand_over(), read, True, *found)


def serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Search the splits that come on `jobs` until it ends."""
    try:
        worker = Worker(pickle.load(jobs))
        with rarely_collecting() as pass_over:
            while True:
                pass_over()
                part = pickle.load(jobs)
                try:
                    for finding in worker.findings(part):
                        pickle.dump(finding, answers, protocol=pickle.HIGHEST_PROTOCOL)
                        answers.flush()
                except EventsError as error:
                    pickle.dump(error, answers)
                    answers.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())  # the parent has ended
    except EOFError:
        return  # no more splits
