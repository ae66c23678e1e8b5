"""`EventBatch`: a run of events as columns that are filled in only where a query looks.

Values of a field are numbered as they are first seen (`FieldDictionary`), so that a predicate is worked out once per
distinct value and then looked up per event. A column is encoded only for the rows that reach a predicate: most rows are
ruled out by the cheap ones.

Lines are looked at twice. The first look decodes, of every line, only the few fields that most events are asked for
(`FirstLook`), and turns them into columns at once, while they are in the processor's cache. The second look decodes all
wanted fields, but only of the lines that are asked for more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.events.decode import Canonical, Line, Origins, Row, RowDecoder
from runner.events.origin import stream_name
from runner.events.schema import DataType, Field
from runner.events.timestamps import read_timestamps

Rows: TypeAlias = NDArray[np.intp]
"""Positions in a batch, ascending."""

_UNREAD = -1
MISSING = 0
"""The code of "no value" in every dictionary."""

STREAM_FIELDS = tuple(Field(f"data_stream.{part}", DataType.KEYWORD) for part in ("type", "dataset", "namespace"))
"""The fields that say which data stream a plain document belongs to."""


class _Numbering(dict[Any, int]):
    """Gives each key the next number when it is first asked for, and remembers the keys by number."""

    def __init__(self) -> None:
        super().__init__({None: MISSING, (): MISSING})
        self.keys_by_number: list[Any] = [None]

    def __missing__(self, key: Any) -> int:
        self[key] = number = len(self.keys_by_number)
        self.keys_by_number.append(key)
        return number


class FieldDictionary:
    """The distinct values of one field, by code, over all batches of a run; code 0 is "no value"."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._typed = field.type is DataType.NULL
        self.generation = 0
        self._numbering = _Numbering()

    def encode(self, values: Iterable[Canonical]) -> NDArray[np.int32]:
        """The code of each value."""
        keys: Iterable[Any] = map(_typed, values) if self._typed else values
        return np.array(list(map(self._numbering.__getitem__, keys)), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._numbering.keys_by_number)

    def value(self, code: int) -> Canonical:
        """The value that has this code."""
        key = self._numbering.keys_by_number[code]
        value: Canonical = key[1] if self._typed and key is not None else key
        return value

    def forget(self) -> None:
        """Start anew: all codes given so far lose their meaning."""
        self.generation += 1
        self._numbering = _Numbering()


_HOT = 0.25
"""The part of all events that must have been asked for a field before the first look reads it."""
_SLICE = 256
"""Lines that the first look decodes before it turns them into columns: what the cache holds."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the first look found: the events' lines, and a part of their columns."""

    positions: list[int]
    origins: Origins | None
    codes: Mapping[str, NDArray[np.int32]]
    values: Mapping[str, list[Canonical]]


class FirstLook:
    """Reads, of every line, the fields that most events are asked for: codes of some, values (of timestamps) of
    others."""

    def __init__(self, coded: Sequence[FieldDictionary], plain: Sequence[Field]) -> None:
        self.coded = {dictionary.field.name: dictionary for dictionary in coded}
        self.plain = {field.name: field for field in plain}
        decoder = RowDecoder([*(dictionary.field for dictionary in coded), *plain])
        self._decoder = decoder
        self._takers = {name: (decoder.getter(name), decoder.gatherer(name)) for name in (*self.coded, *self.plain)}

    def read(self, lines: Sequence[Line], broken: Callable[[int, str], None]) -> Look:
        """Look at all lines; blank ones are left out, broken ones are reported by `broken(position, reason)`."""
        positions: list[int] = []
        origins: list[tuple[int, Origins]] = []
        codes: dict[str, list[NDArray[np.int32]]] = {name: [] for name in self.coded}
        values: dict[str, list[Canonical]] = {name: [] for name in self.plain}
        for start in range(0, len(lines), _SLICE):
            part = lines[start : start + _SLICE]
            report = partial(_report_from, broken, start)
            rows, places, named = self._decoder.read_lines(part, report)
            if named is not None:
                origins.append((len(positions), named))
            positions.extend(range(start, start + len(part)) if places is None else (start + place for place in places))
            for name, dictionary in self.coded.items():
                codes[name].append(dictionary.encode(self._take(name, rows)))
            for name in self.plain:
                values[name].extend(self._take(name, rows))
        columns = {name: np.concatenate(parts) if parts else _NO_CODES for name, parts in codes.items()}
        return Look(positions, _united(origins, len(positions)), columns, values)

    def _take(self, name: str, rows: Sequence[Row]) -> list[Canonical]:
        quick, thorough = self._takers[name]
        return _taken(quick, thorough, rows)


def _report_from(broken: Callable[[int, str], None], start: int, place: int, reason: str) -> None:
    """Report a broken line of a slice that begins at `start`."""
    broken(start + place, reason)


_NO_CODES = np.zeros(0, dtype=np.int32)


def _taken(
    quick: Callable[[Row], Canonical], thorough: Callable[[Row], Canonical], rows: Sequence[Row]
) -> list[Canonical]:
    try:
        return list(map(quick, rows))
    except AttributeError:  # an array or a null stands where an object usually does
        return list(map(thorough, rows))


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


class Columns:
    """What outlives a batch: the decoders and the dictionaries of the fields that are read in one run."""

    def __init__(self, fields: Iterable[Field], *, dictionary_limit: int = 200_000) -> None:
        named = {field.name: field for field in (*fields, *STREAM_FIELDS)}
        self.fields = named
        self.decoder = RowDecoder(named.values())
        self.first_look = FirstLook((), ())
        self._limit = dictionary_limit
        self._dictionaries = {name: FieldDictionary(field) for name, field in named.items()}
        self._takers = {name: (self.decoder.getter(name), self.decoder.gatherer(name)) for name in named}
        self._batches = self._events = 0
        self._asked: dict[str, int] = {}
        self._timed: set[str] = set()

    def dictionary(self, name: str) -> FieldDictionary:
        return self._dictionaries[name]

    def take(self, name: str, rows: Sequence[Row]) -> list[Canonical]:
        """The field's value in each of the rows."""
        return _taken(*self._takers[name], rows)

    def note_asked(self, name: str, count: int) -> None:
        """Take note that so many events were asked for the field."""
        self._asked[name] = self._asked.get(name, 0) + count

    def note_timed(self, name: str) -> None:
        """Take note that all events were asked for the field as a timestamp."""
        self._timed.add(name)

    def trim(self, events: int = 0) -> None:
        """Forget the dictionaries that have grown over the limit; call it between two batches, with the size of the
        last.

        Here the first look learns what to read, after batch 1, 2, 4, and so on.
        """
        for dictionary in self._dictionaries.values():
            if len(dictionary) > self._limit:
                dictionary.forget()
        self._batches += 1
        self._events += events
        if events and not self._batches & (self._batches - 1):
            hot = {name for name, count in self._asked.items() if count >= _HOT * self._events}
            coded = (hot | self.first_look.coded.keys()) - self._timed
            if coded != self.first_look.coded.keys() or self._timed != self.first_look.plain.keys():
                # In the order of first use, about that in which documents have them.
                dictionaries = [self._dictionaries[name] for name in self._asked if name in coded]
                self.first_look = FirstLook(dictionaries, [self.fields[name] for name in sorted(self._timed)])


class EventBatch:
    """Events `base`, `base + 1`, ... of a run, in the order in which they were read."""

    def __init__(
        self,
        columns: Columns,
        rows: Sequence[Row],
        *,
        base: int,
        origins: Origins | None = None,
        positions: Sequence[int] | None = None,
    ) -> None:
        """`positions` says which line of its block each row was read from, where blank or broken lines were left
        out."""
        self.columns = columns
        self.base = base
        self.positions = self._positions(positions, len(rows))
        self.unreadable_times = 0
        self._rows = rows
        self._lines: Sequence[Line] = ()
        self._unread: NDArray[np.bool_] | None = None
        self._origins = origins
        self._codes: dict[str, NDArray[np.int32]] = {}
        self._complete: set[str] = set()
        self._values: Mapping[str, list[Canonical]] = {}
        self._times: dict[str, NDArray[np.int64]] = {}
        self._streams: tuple[NDArray[np.intp], list[str | None]] | None = None

    @classmethod
    def of_lines(
        cls, columns: Columns, lines: Sequence[Line], *, base: int, broken: Callable[[int, str], None]
    ) -> EventBatch:
        """The events of the lines, which must stay as they are while the batch is used.

        Blank lines are left out; each line that is no JSON object is reported by `broken(position, reason)`.
        """
        look = columns.first_look.read(lines, broken)
        count = len(look.positions)
        batch = cls(columns, [None] * count, base=base, origins=look.origins, positions=look.positions)
        batch._lines = lines
        batch._unread = np.ones(count, dtype=np.bool_)
        batch._codes = dict(look.codes)
        batch._complete = set(look.codes)
        batch._values = look.values
        return batch

    @staticmethod
    def _positions(positions: Sequence[int] | None, count: int) -> Rows:
        return np.arange(count, dtype=np.intp) if positions is None else np.asarray(positions, dtype=np.intp)

    def __len__(self) -> int:
        return len(self._rows)

    def all_rows(self) -> Rows:
        return np.arange(len(self._rows), dtype=np.intp)

    def _is_all(self, rows: Rows) -> bool:
        """Whether these are all rows; as many may also be some of them more than once, as with several join keys."""
        return len(rows) == len(self._rows) and np.array_equal(rows, self.all_rows())

    def values(self, name: str, rows: Rows) -> list[Canonical]:
        """The field's value in each of the rows."""
        known = self._values.get(name)
        if known is not None:
            return known if self._is_all(rows) else [known[row] for row in rows.tolist()]
        if name in self._complete:
            return list(map(self.columns.dictionary(name).value, self._codes[name][rows].tolist()))
        return self.columns.take(name, self._decoded(rows))

    def _decoded(self, rows: Rows) -> Sequence[Row]:
        """These rows themselves; their lines get their second look here."""
        if self._unread is not None:
            unread = rows[self._unread[rows]]
            if len(unread):
                self._unread[unread] = False
                lines = [self._lines[position] for position in self.positions[unread].tolist()]
                found = self.columns.decoder.read_known(lines, hits=self._origins is not None)
                assert isinstance(self._rows, list)
                for row, decoded in zip(unread.tolist(), found, strict=True):
                    self._rows[row] = decoded
        return self._rows if self._is_all(rows) else [self._rows[row] for row in rows.tolist()]

    def codes(self, name: str, rows: Rows) -> NDArray[np.int32]:
        """The code of the field's value in each of the rows, by the field's dictionary."""
        column = self._codes.get(name)
        if column is None:
            column = self._codes[name] = np.full(len(self._rows), _UNREAD, dtype=np.int32)
        codes = column[rows]
        if name in self._complete:
            return codes
        unread = rows[codes == _UNREAD]
        if len(unread):
            self.columns.note_asked(name, len(unread))
            column[unread] = self.columns.dictionary(name).encode(self.values(name, unread))
            codes = column[rows]
        return codes

    def timestamps(self, name: str) -> NDArray[np.int64]:
        """The date field's value of every row in nanoseconds since 1970; `NO_TIME` where there is none."""
        column = self._times.get(name)
        if column is None:
            self.columns.note_timed(name)
            column, unreadable = read_timestamps(self.values(name, self.all_rows()), self.columns.fields[name])
            self._times[name] = column
            self.unreadable_times += unreadable
        return column

    def streams(self) -> tuple[NDArray[np.intp], list[str | None]]:
        """Per row a number, and by number the index or data stream that the event belongs to; None where it names
        none."""
        if self._streams is None:
            everything = self.all_rows()
            packed = np.zeros(len(self), dtype=np.int64)
            for field in STREAM_FIELDS:
                packed = (packed << 21) + self.codes(field.name, everything)
            distinct, numbers = np.unique(packed, return_inverse=True)
            names = [self._stream(pack) for pack in distinct.tolist()]
            if self._origins is not None:
                # A hit says itself which index it is from; only plain documents keep the name made above.
                seen: dict[str | None, int] = {}
                for row, index in enumerate(self._origins.indices):
                    if index is not None:
                        numbers[row] = seen.setdefault(index, len(names) + len(seen))
                names.extend(seen)
            self._streams = numbers, names
        return self._streams

    def _stream(self, packed: int) -> str | None:
        codes = (packed >> 42, packed >> 21 & 0x1FFFFF, packed & 0x1FFFFF)
        parts = zip(STREAM_FIELDS, codes, strict=True)
        return stream_name(*(self.columns.dictionary(field.name).value(code) for field, code in parts))


def _typed(value: Canonical) -> Any:
    """A key that tells 1, 1.0 and true apart, which Python takes for equal."""
    if value is None or value == ():
        return value
    kinds = tuple(type(item) for item in value) if isinstance(value, tuple) else type(value)
    return kinds, value
