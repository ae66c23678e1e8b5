"""`FieldWatch`: which fields that no mapping names have a value in the events of a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from runner.errors import EventsError
from runner.events.columns.batch import Columns, EventBatch, Rows
from runner.events.columns.event_groups import GroupCounts
from runner.events.columns.projections import slices
from runner.events.fields.schema import DataType, Field
from runner.events.files.event_files import EventFiles, ReadProgress, TimeWanted, unreported
from runner.file_formats.inner_events import InnerEvents

_FIRST = 4_096
"""Events of a pass that are looked at whatever they cost; after them the first few of each batch."""
_OF_BATCH = 256
_OF_STREAMS = 64
_BACK = 1 << 30
"""Stored bytes of older files that are looked into."""


class FieldWatch:
    """The watched names, and those of them that an event had a value of.

    `thorough` names are looked for in every event of a pass until they are found, the others in a sample of them.
    """

    def __init__(self, names: Collection[str], *, thorough: Collection[str] = ()) -> None:
        self.fields = tuple(Field(name, DataType.NULL) for name in sorted({*names, *thorough}))
        self.found: set[str] = set()
        self.is_whole = True
        """Whether every event was looked at for every name."""
        self.streams: set[str | None] = set()
        """The indices and data streams that the events name; None for events that name none."""
        self._groups: GroupCounts | None = None
        self._known = 0
        self._counts: Counter[str | None] = Counter()
        self._thorough = frozenset(thorough)
        self._left = _FIRST

    @property
    def missing(self) -> frozenset[str]:
        """The thorough names that were not found yet."""
        return self._thorough - self.found

    def look(self, batch: EventBatch) -> None:
        """Take in the events of a batch whose columns have `fields`."""
        missing = {field.name for field in self.fields} - self.found
        if not missing:
            return
        rows = batch.all_rows()
        first = max(self._left, _OF_BATCH)
        self._left -= min(self._left, len(rows))
        self._look(batch, missing, rows[:first])
        if len(rows) > first:
            self.is_whole = False
            self._look(batch, missing & self._thorough, rows[first:])

    def look_at_streams(self, batch: EventBatch) -> None:
        """Take in where the events of a batch belong, after it was matched, which has grouped them."""
        groups = batch.grouped
        if groups is None:  # no event is of the time that is searched
            rows = batch.all_rows()
            self.streams |= batch.streams(rows[:: max(1, len(rows) // _OF_STREAMS)])
            return
        if self._groups is None or groups is not self._groups.groups:
            self._count()
            self._groups, self._known = GroupCounts(groups), 0
        batch.count_in(self._groups)
        self.streams.update(map(groups.stream, range(self._known, len(groups))))
        self._known = len(groups)

    def begin(self) -> None:
        """Forget the counts of an earlier reading of the same events."""
        self._groups, self._counts = None, Counter()

    def counts(self) -> Counter[str | None]:
        """The events by the index or data stream that they name, since the last call, as far as they were grouped."""
        self._count()
        counts, self._counts = self._counts, Counter()
        return counts

    def _count(self) -> None:
        """Add what was counted by groups."""
        if self._groups is not None:
            self._counts.update(self._groups.by_stream())
            self._groups = None

    def _look(self, batch: EventBatch, names: Collection[str], rows: Rows) -> None:
        missing = frozenset(names) - self.found
        for some in slices(rows):
            if not missing:
                return
            projection, decoded = batch.project(missing, some.tolist())
            self.found |= {name for name in missing if any(one is not None for one in projection.take(name, decoded))}

    def take_over(self, found: Collection[str], streams: Mapping[str | None, int], *, is_whole: bool) -> None:
        """What the watch of a worker process has found; streams with the counts of their events."""
        self.found |= set(found)
        self.streams |= set(streams)
        self._counts.update(streams)
        self.is_whole = self.is_whole and is_whole


def look_back(
    watch: FieldWatch,
    paths: Iterable[str],
    time: Field,
    inner: InnerEvents,
    *,
    progress: ReadProgress = unreported,
) -> None:
    """Look for the missing thorough names in files that a pass has not read whole: some 1 GiB of them, in order.

    In a cluster a field is mapped from its first event on, however old that is.
    """
    left = _BACK
    for path in paths:
        if left <= 0 or not watch.missing:
            return
        try:
            with EventFiles([path], inner=inner) as files:
                left -= files.size()
                for batch in files.batches(
                    Columns([time, *watch.fields]), wanted=TimeWanted((time.name,)), progress=progress
                ):
                    watch.look(batch)
                    if not watch.missing:
                        return
        except EventsError:
            continue  # it is gone, or may not be read: a pass that needs its events says so
