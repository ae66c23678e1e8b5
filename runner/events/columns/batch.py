"""`EventBatch`: a run of events as columns, each read for the rows that a query needs (projection pushdown)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, filterfalse
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.event_groups import STREAM_FIELDS, EventGroups, GroupReader
from runner.events.columns.projections import Projection, ProjectionCache, ScanProjection, slices
from runner.events.columns.row_decoder import Line, Origins, Row
from runner.events.fields.index_patterns import stream_name
from runner.events.fields.schema import Field
from runner.events.fields.timestamp_column import read_timestamps
from runner.events.fields.values import Canonical

Rows: TypeAlias = NDArray[np.intp]
"""Positions in a batch, ascending."""


class Columns:
    """What outlives a batch: the decoders of the fields that are read in one run."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields = named = _named(fields)
        self.whole = Projection(named.values())
        self.decoder = self.whole.decoder
        self._scan = ScanProjection((), None)
        self.projections = ProjectionCache(named, self.whole)
        self._timed: set[str] = set()
        self._groups: EventGroups | None = None

    def are_of(self, fields: Iterable[Field]) -> bool:
        """Whether columns that were made of these fields would be the same."""
        return self.fields == _named(fields)

    def group_by(self, groups: EventGroups) -> None:
        """Have the scan group the events, from the next batch on."""
        self._groups = groups

    def note_timed(self, name: str) -> None:
        """Have the scan read a timestamp field, from the next batch on."""
        self._timed.add(name)

    def scan(self) -> ScanProjection:
        """The projection that reads the group fields and the timestamps of every line."""
        names = self._timed - (set() if self._groups is None else self._groups.fields.keys())
        projection = self._scan
        if names != projection.names or self._groups is not projection.groups or projection.is_outdated():
            self._scan = ScanProjection([self.fields[name] for name in sorted(names)], self._groups)
        return self._scan


def _named(fields: Iterable[Field]) -> dict[str, Field]:
    return {field.name: field for field in (*fields, *STREAM_FIELDS)}


class EventBatch:
    """Events `base`, `base + 1`, ... of a run, in the order in which they were read."""

    def __init__(
        self,
        columns: Columns,
        rows: Sequence[Row],
        *,
        base: int,
        origins: Origins | None = None,
        positions: Sequence[int] | NDArray[np.intp] | None = None,
    ) -> None:
        """`positions` are those of the rows among the lines of their block, if blank or broken lines were left out."""
        self.columns = columns
        self.base = base
        self.positions = np.asarray(range(len(rows)) if positions is None else positions, dtype=np.intp)
        self.unreadable_times = 0
        self._rows = rows
        self._lines: Sequence[Line] = ()
        self._origins = origins
        self._values: Mapping[str, Sequence[Canonical]] = {}
        self._loaded: dict[str, dict[int, Canonical]] = {}
        self._times: dict[str, NDArray[np.int64]] = {}
        self._groups: tuple[EventGroups, NDArray[np.int32]] | None = None

    @property
    def origins(self) -> Origins | None:
        """Index and id of each event; None if none of them has any."""
        return self._origins

    @classmethod
    def of_lines(
        cls, columns: Columns, lines: Sequence[Line], *, base: int, broken: Callable[[int, str], None]
    ) -> EventBatch:
        """The events of the lines, which must stay as they are while the batch is used.

        Blank lines are left out; each line that is no JSON object is reported by `broken(position, reason)`.
        """
        scan = columns.scan()
        columns_read = scan.read(lines, broken)
        count = len(columns_read.positions)
        batch = cls(columns, [None] * count, base=base, origins=columns_read.origins, positions=columns_read.positions)
        batch._lines = lines
        batch._values = columns_read.values
        if scan.groups is not None:
            batch._groups = scan.groups, columns_read.groups
        return batch

    def __len__(self) -> int:
        return len(self._rows)

    def all_rows(self) -> Rows:
        return np.arange(len(self._rows), dtype=np.intp)

    def _is_all(self, rows: Rows) -> bool:
        """Whether these are all rows; as many rows may have some of them twice, as with several join keys."""
        return len(rows) == len(self._rows) and np.array_equal(rows, self.all_rows())

    @property
    def grouped(self) -> EventGroups | None:
        """The groups that the events were last put into, with those of all batches before."""
        return self._groups[0] if self._groups is not None else None

    def streams(self, rows: Rows) -> set[str | None]:
        """The indices and data streams that these events name; None for those that name none."""
        names = [field.name for field in STREAM_FIELDS]
        self.load(frozenset(names), rows)
        parts = zip(*(self.values(name, rows) for name in names), strict=True)
        indices = [None] * len(rows) if self._origins is None else [self._origins.indices[row] for row in rows.tolist()]
        return {index or stream_name(*part) for index, part in zip(indices, parts, strict=True)}

    def groups(self, groups: EventGroups) -> NDArray[np.int32]:
        """The group of each event."""
        if self._groups is not None and self._groups[0] is groups:
            return self._groups[1]
        readers: dict[int, GroupReader] = {}
        parts = [np.zeros(0, dtype=np.int32)]
        for rows in slices(self.all_rows()):
            projection, decoded = self.project(frozenset(groups.fields), rows.tolist())
            read = readers.get(id(projection))
            if read is None:
                read = readers[id(projection)] = groups.reader(projection.decoder, projection.take)
            indices = None if self._origins is None else self._origins.indices[rows[0] : rows[-1] + 1]
            parts.append(read(decoded, indices))
        self._groups = groups, np.concatenate(parts)
        return self._groups[1]

    def unread(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the fields that the scan has not read."""
        return names.difference(self._values) if self._lines else frozenset()

    def project(self, names: frozenset[str], rows: Sequence[int]) -> tuple[Projection, list[Row]]:
        """A projection that reads these fields, and its row for each of the rows. A slice of rows at a time is best.

        A line that turns out to be broken in a field that was not read before is an event without any value.
        """
        if not self._lines:
            return self.columns.whole, list(map(self._rows.__getitem__, rows))
        projection = self.columns.projections.reading(names, len(rows))
        places = rows if len(self._rows) == len(self._lines) else self.positions[rows].tolist()
        lines = list(map(self._lines.__getitem__, places))
        return projection, projection.decoder.read_known(lines, hits=self._origins is not None)

    def load(self, names: frozenset[str], rows: Rows) -> None:
        """Read these fields of these rows, as far as the scan has not, for `values` (late materialisation)."""
        names = self.unread(names).difference(self._groups[0].fields if self._groups is not None else ())
        known = [self._loaded.get(name, {}).__contains__ for name in names]
        unread = set(chain.from_iterable(filterfalse(is_known, rows.tolist()) for is_known in known))
        for part in slices(np.asarray(sorted(unread), dtype=np.intp)):
            self.keep(names, part, *self.project(names, part.tolist()))

    def keep(self, names: frozenset[str], rows: Rows, projection: Projection, decoded: Sequence[Row]) -> None:
        """Take these fields of these rows for `values` from what a projection has decoded."""
        for name in names:
            self._loaded.setdefault(name, {}).update(zip(rows.tolist(), projection.take(name, decoded), strict=True))

    def held(self, name: str, rows: Sequence[int]) -> list[Canonical]:
        """The same as `values` for a field that the scan has read, or of a batch without lines."""
        known = self._values.get(name)
        if known is not None:
            return list(map(known.__getitem__, rows))
        return self.columns.whole.take(name, list(map(self._rows.__getitem__, rows)))

    def values(self, name: str, rows: Rows) -> Sequence[Canonical]:
        """The field's value in each of the rows."""
        known = self._values.get(name)
        if known is not None:
            return known if self._is_all(rows) else [known[row] for row in rows.tolist()]
        if self._groups is not None and name in self._groups[0].fields:
            groups, group = self._groups
            return list(map(groups.values(name).__getitem__, group[rows].tolist()))
        try:
            return list(map(self._loaded[name].__getitem__, rows.tolist()))
        except KeyError:
            return self.columns.whole.take(name, self._decoded(rows))

    def _decoded(self, rows: Rows) -> Sequence[Row]:
        """These rows with all their fields."""
        if self._lines:
            assert isinstance(self._rows, list)
            unread = [row for row in rows.tolist() if self._rows[row] is None]
            lines = [self._lines[position] for position in self.positions[unread].tolist()]
            for row, decoded in zip(
                unread, self.columns.decoder.read_known(lines, hits=self._origins is not None), strict=True
            ):
                self._rows[row] = decoded
        return self._rows if self._is_all(rows) else [self._rows[row] for row in rows.tolist()]

    def timestamps(self, name: str) -> NDArray[np.int64]:
        """The date field's value of every row in nanoseconds since 1970; `NO_TIME` where there is none."""
        column = self._times.get(name)
        if column is None:
            self.columns.note_timed(name)
            column, unreadable = read_timestamps(self.values(name, self.all_rows()), self.columns.fields[name])
            self._times[name] = column
            self.unreadable_times += unreadable
        return column
