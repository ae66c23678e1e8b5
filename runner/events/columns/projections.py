"""Looks at lines: each decodes a few fields and skips the rest, so that a line costs what is asked of it.

Every line gets the first look (`FirstLook`), which reads what is asked of all events: their kind and their timestamps.
Other fields are read by further looks at the lines that are asked for them (`Look`, `Looks`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.event_groups import Kinds
from runner.events.columns.row_decoder import Line, Origins, Row, RowDecoder
from runner.events.fields.schema import Field
from runner.events.fields.values import Canonical

SLICE = 256
"""Lines that are decoded before they are turned into columns: what the cache holds."""
_SPARE = 3
"""So many fields more than are asked for may be read by a look that is there already."""
_WORTH_A_LOOK = 40_000
"""So many values more may be asked for in vain before it is worth while to make a look for just the right ones."""
_UNFAMILIAR = 0.005
"""The part of the events that may have unfamiliar values before it is worth while to make the first look anew."""
_LOOKS, _CHOICES = 40, 1000
"""So many looks are made for what is asked for, and so many answers remembered to the question which one is right."""


class Look:
    """Reads some fields of lines at once, and takes their values out of the rows."""

    def __init__(self, fields: Iterable[Field], familiar: Mapping[str, Collection[str]] | None = None) -> None:
        """`familiar` is what `RowDecoder` wants to know."""
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


class Looks:
    """The looks of one run, found by what is asked for. Each has to be generated, so there are not too many."""

    def __init__(self, fields: Mapping[str, Field], whole: Look) -> None:
        """`whole` reads all of the fields: it serves what is asked of few lines."""
        self._fields = fields
        self._made = [whole]
        self._large: dict[frozenset[str], Look] = {}
        self._chosen: dict[frozenset[str], Look] = {}
        self._vain: dict[frozenset[str], int] = {}

    def reading(self, names: frozenset[str], count: int) -> Look:
        """A look that reads these fields, and perhaps some more; it is for so many lines."""
        look = self._chosen.get(names)
        if look is None:
            if len(self._chosen) > _CHOICES:
                self._chosen.clear()
                self._vain.clear()
            look = self._chosen[names] = self._found(names, spare=len(self._fields))
        spare = len(look.names) - len(names)
        if spare > _SPARE and len(self._made) < _LOOKS:
            self._vain[names] = vain = self._vain.get(names, 0) + spare * count
            if vain > _WORTH_A_LOOK:
                look = self._chosen[names] = self._found(names, spare=_SPARE)
        return look

    def _found(self, names: frozenset[str], *, spare: int) -> Look:
        """A look that is there already and reads at most so many more fields, or else a new one."""
        fitting = [look for look in self._made if names <= look.names and len(look.names) <= len(names) + spare]
        if fitting:
            return min(fitting, key=lambda look: len(look.names))
        if len(self._made) >= _LOOKS:
            return self._one_for_all(names)
        self._made.append(Look(self._fields[name] for name in sorted(names)))
        return self._made[-1]

    def _one_for_all(self, names: frozenset[str]) -> Look:
        """A look at the objects of a document that the fields are in: it reads all that was ever asked for of them."""
        objects = frozenset(name.partition(".")[0] for name in names)
        look = self._large.get(objects)
        if look is None or not names <= look.names:
            if len(self._large) > _LOOKS:
                self._large.clear()
            wanted = names if look is None else names | look.names
            look = self._large[objects] = Look(self._fields[name] for name in sorted(wanted))
        return look


@dataclass(frozen=True, slots=True)
class Sight:
    """What the first look saw: the events' lines, their kinds, and the values of some fields."""

    positions: list[int] | range
    origins: Origins | None
    kinds: NDArray[np.int32] | None
    values: Mapping[str, list[Canonical]]


class FirstLook:
    """Reads, of every line, what all events are asked for: their kind and their timestamps."""

    def __init__(self, fields: Sequence[Field], kinds: Kinds | None) -> None:
        self.names = frozenset(field.name for field in fields)
        self.kinds = kinds
        telling = kinds.fields.values() if kinds is not None else ()
        self._look = Look([*telling, *fields], None if kinds is None else kinds.familiar())
        self._had_familiar = kinds is not None and len(kinds) > 0
        self._rows = 0
        self._kind_reader = None if kinds is None else kinds.reader(self._look.decoder, self._look.take)

    def read(self, lines: Sequence[Line], broken: Callable[[int, str], None]) -> Sight:
        """Look at all lines; blank ones are left out, broken ones are reported by `broken(position, reason)`.

        Rows are not kept: to make them again and again in the same memory is what makes a look cheap.
        """
        positions: list[int] | range = range(0)
        origins: list[tuple[int, Origins]] = []
        kinds: list[NDArray[np.int32]] = []
        values: dict[str, list[Canonical]] = {name: [] for name in self.names}
        take, read_kinds = self._look.take, self._kind_reader
        for start in range(0, len(lines), SLICE):
            part = lines[start : start + SLICE]
            rows, places, named = self._look.decoder.read_lines(part, partial(_report_from, broken, start))
            self._rows += len(rows)
            if named is not None:
                origins.append((len(positions), named))
            if isinstance(positions, range):  # no line was left out so far
                positions = range(start + len(part)) if places is None else list(positions)
            if isinstance(positions, list):
                positions.extend(start + place for place in (range(len(part)) if places is None else places))
            if read_kinds is not None:
                kinds.append(read_kinds(rows, None if named is None else named.indices))
            for name, column in values.items():
                column.extend(take(name, rows))
        return Sight(
            positions,
            _united(origins, len(positions)),
            np.concatenate([np.zeros(0, dtype=np.int32), *kinds]) if read_kinds is not None else None,
            values,
        )

    def is_outdated(self) -> bool:
        """Whether many events had values that were not familiar when this look was made."""
        first = self._rows > 0 and self.kinds is not None and not self._had_familiar
        return first or self._look.decoder.unfamiliar > _UNFAMILIAR * self._rows


def slices(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The rows, as many at a time as should be decoded before they are turned into columns."""
    return (rows[start : start + SLICE] for start in range(0, len(rows), SLICE))


def _report_from(broken: Callable[[int, str], None], start: int, place: int, reason: str) -> None:
    """Report a broken line of a slice that begins at `start`."""
    broken(start + place, reason)


def _united(parts: Sequence[tuple[int, Origins]], count: int) -> Origins | None:
    """The origins of all events, given those of some runs of them by the place where each begins."""
    if not parts:
        return None
    indices: list[str | None] = [None] * count
    ids: list[str | None] = [None] * count
    for start, origins in parts:
        indices[start : start + len(origins.indices)] = origins.indices
        ids[start : start + len(origins.ids)] = origins.ids
    return Origins(tuple(indices), tuple(ids))
