"""Projections: each decodes a few fields of lines and skips the rest (projection pushdown).

The scan (`ScanProjection`) reads the group fields and the timestamps of every line. Other fields are read by further
projections of the lines for which a query needs them (`Projection`, `ProjectionCache`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.event_groups import EventGroups
from runner.events.columns.row_decoder import Line, Origins, Row, RowDecoder
from runner.events.fields.schema import Field
from runner.events.fields.values import Canonical

SLICE = 256
"""Lines that are decoded before they are turned into columns: what the cache holds."""
_GENERATING = 40_000
"""Values decoded in vain before an exact projection is generated; generating one costs about as much."""
_PROJECTIONS, _CHOICES = 64, 1000
"""Most projections of a run, and most sets of fields for which it is remembered which of them serves."""
_UNFAMILIAR = 0.005
"""Most of the events, as a fraction, with unfamiliar texts before the scan's projection is generated anew."""


class Projection:
    """Reads some fields of lines at once, and takes their values out of the rows."""

    def __init__(self, fields: Iterable[Field], familiar: Mapping[str, Collection[str]] | None = None) -> None:
        """`familiar` are texts that most values of some fields are, by field (see `RowDecoder`)."""
        self.decoder = decoder = RowDecoder(fields, familiar)
        self.names = frozenset(decoder.fields)
        self._takers = {name: (decoder.getter(name), decoder.gatherer(name)) for name in self.names}

    def take(self, name: str, rows: Sequence[Row]) -> list[Canonical]:
        """The field's value in each of the rows."""
        quick, thorough = self._takers[name]
        try:
            return list(map(quick, rows))
        except AttributeError:  # an array or a null stands where an object usually does
            return list(map(thorough, rows))


class ProjectionCache:
    """The projections of one run by their fields. One is generated when a wider one has decoded too much in vain."""

    def __init__(self, fields: Mapping[str, Field], whole: Projection) -> None:
        """`whole` reads all of the fields."""
        self._fields = fields
        self._made = [whole]
        self._chosen: dict[frozenset[str], Projection] = {}
        self._wasted: dict[frozenset[str], int] = {}

    def reading(self, names: frozenset[str], count: int) -> Projection:
        """A projection that reads these fields, and perhaps some more, for `count` lines."""
        found = self._chosen.get(names)
        if found is None:
            if len(self._chosen) > _CHOICES:
                self._chosen.clear()
                self._wasted.clear()
            fitting = (one for one in self._made if names <= one.names)
            found = self._chosen[names] = min(fitting, key=lambda one: len(one.names))
        spare = len(found.names) - len(names)
        if spare and len(self._made) < _PROJECTIONS:
            self._wasted[names] = wasted = self._wasted.get(names, 0) + spare * count
            if wasted > _GENERATING:
                found = self._chosen[names] = Projection(self._fields[name] for name in sorted(names))
                self._made.append(found)
        return found


@dataclass(frozen=True, slots=True)
class ScanColumns:
    """What a scan has read: the events' lines, their groups, and the values of some fields."""

    positions: NDArray[np.intp]
    origins: Origins | None
    groups: NDArray[np.int32]
    """Empty if the scan does not group."""
    values: Mapping[str, list[Canonical]]


class ScanProjection:
    """Reads the group fields and the timestamps of every line.

    Texts of group fields that were seen before are declared in the generated structure, so that they are neither made
    nor hashed again for every line: 4 to 6 % of a pass (benchmarks/run.py, 2 and 350 rules). A line with another text
    is decoded once more without that.
    """

    def __init__(self, fields: Sequence[Field], groups: EventGroups | None) -> None:
        self.names = frozenset(field.name for field in fields)
        self.groups = groups
        group_fields = groups.fields.values() if groups is not None else ()
        self._projection = Projection([*group_fields, *fields], None if groups is None else groups.familiar())
        self._had_familiar = groups is not None and len(groups) > 0
        self._rows = 0
        self._read_groups = None if groups is None else groups.reader(self._projection.decoder, self._projection.take)

    def read(self, lines: Sequence[Line], broken: Callable[[int, str], None]) -> ScanColumns:
        """Read all lines; blank ones are left out, broken ones are reported by `broken(position, reason)`.

        Rows are not kept: their memory is used again for the next slice, which is what makes a scan cheap.
        """
        positions: list[NDArray[np.intp]] = [np.zeros(0, dtype=np.intp)]
        count = 0
        indices: list[str | None] = []
        ids: list[str | None] = []
        groups: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
        values: dict[str, list[Canonical]] = {name: [] for name in self.names}
        for start in range(0, len(lines), SLICE):
            part = lines[start : start + SLICE]
            rows, places, origins = self._projection.decoder.read_lines(part, partial(_report_from, broken, start))
            self._rows += len(rows)
            if origins is not None:
                indices += [None] * (count - len(indices)) + list(origins.indices)
                ids += [None] * (count - len(ids)) + list(origins.ids)
            count += len(rows)
            positions.append(np.arange(len(part)) + start if places is None else np.asarray(places, np.intp) + start)
            if self._read_groups is not None:
                groups.append(self._read_groups(rows, None if origins is None else origins.indices))
            for name, column in values.items():
                column += self._projection.take(name, rows)
        missing = [None] * (count - len(indices))
        found = Origins((*indices, *missing), (*ids, *missing)) if indices else None
        return ScanColumns(np.concatenate(positions), found, np.concatenate(groups), values)

    def is_outdated(self) -> bool:
        """Whether many events had texts that were not declared when this projection was generated."""
        first = self._rows > 0 and self.groups is not None and not self._had_familiar
        return first or self._projection.decoder.unfamiliar > _UNFAMILIAR * self._rows


def slices(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The rows, as many at a time as should be decoded before they are turned into columns."""
    return (rows[start : start + SLICE] for start in range(0, len(rows), SLICE))


def _report_from(broken: Callable[[int, str], None], start: int, place: int, reason: str) -> None:
    broken(start + place, reason)
