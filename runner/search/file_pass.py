"""One pass of the local engine over event files."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from runner import eql
from runner.eql.match import CROWD, Edge
from runner.eql.predicates import Conjuncts
from runner.eql.sieve import StageFilterPool
from runner.events.collector import rarely_collecting
from runner.events.parts import PART, Part
from runner.events.read import EventFiles, Progress, TimeWanted
from runner.events.schema import Field
from runner.search.worker import Job
from runner.search.workers import Workers


def matched(
    files: EventFiles,
    asks: Sequence[eql.Ask],
    fields: Sequence[Field],
    *,
    wanted: TimeWanted,
    progress: Progress | None = None,
    patient: Collection[int] = (),
    conjuncts: Conjuncts | None = None,
    filters: StageFilterPool | None = None,
    workers: int = 1,
    part_size: int = PART,
    room: int = CROWD,
) -> tuple[list[eql.Found], frozenset[int]]:
    """What each ask finds; and which asks have to wait for all events, `patient` ones and those found to be.

    `fields` are read beside those of the asks. Sequences are worked off on the way, by what the order of the files
    promises, when `room` entries are held. Where an event breaks the promise, the files are read once more, and those
    asks wait. `conjuncts` and `filters` keep what other passes can use again. More than one of `workers` read parts of
    the files of about `part_size` bytes, as processes of their own; the answer is the same. Raises EventsError if one
    of them comes to a bad end.
    """
    waiting = frozenset(patient)
    with rarely_collecting() as pass_over:
        while True:
            pass_over()
            matcher = eql.Matcher(
                asks, conjuncts=conjuncts, filters=filters, room=room, field=wanted.names[0], patient=waiting
            )
            if workers > 1 and files.can_be_shared():
                parts = files.parts(_time_field(matcher, fields, wanted), size=part_size)
                job = Job(tuple(asks), tuple(fields), wanted, files.folder / "lines")
                _share(files, matcher, parts, job, workers=workers, progress=progress)
            else:
                for batch in files.batches(matcher.columns(fields), wanted=wanted, progress=progress):
                    files.keep(batch, matcher.feed(batch, Edge(*files.horizon(tight=True))))
                    _settle(files, matcher)
                    pass_over()
            matcher.close()
            if not (late := matcher.late()):
                return list(matcher.found()), waiting
            waiting |= late
            progress = None  # it has told everything once


def _time_field(matcher: eql.Matcher, fields: Sequence[Field], wanted: TimeWanted) -> Field:
    """The field by which the files are ordered."""
    return {field.name: field for field in (*matcher.fields(), *fields)}[wanted.names[0]]


def _share(
    files: EventFiles,
    matcher: eql.Matcher,
    parts: Sequence[Part],
    job: Job,
    *,
    workers: int,
    progress: Progress | None,
) -> None:
    """Have the parts of the files searched by other processes, and go on with what these find."""
    with Workers(min(workers, len(parts)), job) as pool:
        for part, finding in pool.findings(parts):
            files.take_over(part, finding.read, is_last=finding.is_last)
            matcher.take_over(finding.handover)
            _settle(files, matcher)
            if finding.is_last and progress is not None:
                progress(part.size)


def _settle(files: EventFiles, matcher: eql.Matcher) -> None:
    matcher.settle(Edge(*files.horizon(tight=tight)) for tight in (False, True))
