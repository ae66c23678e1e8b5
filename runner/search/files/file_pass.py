"""One pass of the local engine over event files."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from runner import eql
from runner.engine.filter.predicates import Conjuncts
from runner.engine.filter.stage_filter import StageFilterPool
from runner.engine.matcher import ROWS_HELD, Watermark
from runner.engine.repeats import Repeats
from runner.errors import StoppedError
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import NO_TIME
from runner.events.files.event_files import EventFiles, ReadProgress, TimeWanted, unreported
from runner.events.files.splits import PART, Split
from runner.garbage_collection import rarely_collecting
from runner.search.files.field_watch import FieldWatch
from runner.search.files.worker import SplitSearch
from runner.search.files.worker_pool import WorkerPool


def matched(
    files: EventFiles,
    asks: Sequence[eql.Ask],
    fields: Sequence[Field],
    *,
    wanted: TimeWanted,
    progress: ReadProgress = unreported,
    unordered: Collection[int] = (),
    watch: FieldWatch | None = None,
    conjuncts: Conjuncts | None = None,
    filters: StageFilterPool | None = None,
    workers: int = 1,
    part_size: int = PART,
    room: int = ROWS_HELD,
    keeps_excluded: bool = False,
) -> tuple[list[eql.Found], frozenset[int]]:
    """What each ask finds; and which asks have to wait for all events: the `unordered` ones and those found to be.

    `fields` are read beside those of the asks. Sequences are matched on the way, up to the watermark that the order of
    the files gives, when `room` entries are held. After an event older than the watermark the files are read once more,
    and the asks that met it wait for all events. `conjuncts` and `filters` keep what other passes can use again,
    `watch` what fields the events have. Where `progress` raises StoppedError, the pass ends, with the matches that are
    certain by then, and `files.report()` names the reason.
    With `keeps_excluded` some of the events that exceptions leave out can be read afterwards.
    Several `workers` are processes that read splits of about `part_size` bytes; the result is the same. Raises
    EventsError if a worker dies.
    """
    waiting = frozenset(unordered)
    watch = watch if watch is not None else FieldWatch(())
    fields = (*fields, *watch.fields)
    with rarely_collecting() as pass_over:
        while True:
            pass_over()
            watch.begin()
            matcher = eql.Matcher(
                asks,
                conjuncts=conjuncts,
                filters=filters,
                room=room,
                field=wanted.names[0],
                unordered=waiting,
                repeats=Repeats(),
                keeps_excluded=keeps_excluded,
            )
            reached = Watermark(NO_TIME)
            try:
                if workers > 1 and files.can_be_shared():
                    known = {field.name: field for field in (*matcher.fields(), *fields)}
                    parts = files.parts(known[wanted.names[0]], size=part_size)
                    job = SplitSearch(tuple(asks), fields, wanted, files.folder / "lines", watch, keeps_excluded)
                    _share(files, matcher, parts, job, workers=workers, progress=progress)
                else:
                    for batch in files.batches(matcher.columns(fields), wanted=wanted, progress=progress):
                        watch.look(batch)
                        files.keep(batch, matcher.feed(batch, Watermark(*files.watermark(tight=True))))
                        watch.look_at_streams(batch)
                        _settle(files, matcher)
                        reached = Watermark(*files.watermark())
                        pass_over()
                        progress(0)
            except StoppedError as stop:
                files.stopped(str(stop))
                matcher.settle(reached)
                matcher.close()
                return list(matcher.found()), waiting
            matcher.close()
            if not (late := matcher.late()):
                return list(matcher.found()), waiting
            waiting |= late


def _share(
    files: EventFiles,
    matcher: eql.Matcher,
    parts: Sequence[Split],
    job: SplitSearch,
    *,
    workers: int,
    progress: ReadProgress,
) -> None:
    """Have worker processes search the splits, and take over what they find."""
    with WorkerPool(min(workers, len(parts)), job) as pool:
        for part, finding in pool.findings(parts, meanwhile=lambda: progress(0)):
            files.take_over(part, finding.read, is_last=finding.is_last)
            matcher.take_over(finding.handover)
            job.watch.take_over(finding.fields_found, finding.streams, is_whole=finding.watch_is_whole)
            _settle(files, matcher)
            if finding.is_last:
                progress(part.size)


def _settle(files: EventFiles, matcher: eql.Matcher) -> None:
    matcher.advance(Watermark(*files.watermark(tight=tight)) for tight in (False, True))
