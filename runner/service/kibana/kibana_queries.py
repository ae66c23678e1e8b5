"""`KibanaQueries`: the saved queries in Kibana that rules name; read again at most once a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from runner.clock import Clock
from runner.errors import Problem, RunnerError, UnreachableError
from runner.rules.model_errors import shortened
from runner.rules.saved_queries.saved_query import SavedQuery, is_saved_query, read_saved_query
from runner.rules.saved_queries.saved_query_rules import SavedQueries
from runner.windows import iso

REFRESHED_EVERY: Final = timedelta(minutes=1)
_TRIED_EVERY: Final = timedelta(seconds=10)
"""The same while a query is not known at all: its rules wait for it."""
_LONGEST_S: Final = 20.0
"""Seconds that one refresh may take; what was not read by then counts as not readable."""
_PLACE: Final = Path("saved queries")


class QueryReader(Protocol):
    """Reads the saved queries of one Kibana. Raises RunnerError, UnreachableError if it is away."""

    @property
    def place(self) -> str:
        """The Kibana and its space, for messages."""
        ...

    async def saved_query(self, id_: str) -> Mapping[str, Any] | None:
        """A saved object of type `query`; None if there is none of this id."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Version:
    """A saved query as it was read."""

    query: SavedQuery
    read: datetime


class KibanaQueries:
    """The saved queries of one Kibana, with the last good version of one that cannot be read. One that is deleted there
    is not known any more."""

    def __init__(self, opened: Callable[[], QueryReader], clock: Clock) -> None:
        """`opened` gives the reader when the first query is asked for."""
        self._opened = opened
        self._clock = clock
        self._reader: QueryReader | None = None
        self._known: dict[str, _Version] = {}
        self._failures: dict[str, str] = {}
        self._tried: timedelta | None = None
        self._asked: frozenset[str] = frozenset()

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()

    async def read(self, ids: frozenset[str]) -> SavedQueries:
        """The saved queries of some ids, with a warning of each that is older than the last try to read it."""
        if not ids:
            return SavedQueries()
        if self._is_due(ids):
            self._tried, self._asked = self._clock.elapsed(), ids
            await self._refresh(sorted(ids))
        kept = [
            f"`{shortened(id_)}` cannot be read: {self._failures[id_]}; its version of {iso(version.read)} stays in use"
            for id_, version in self._known.items()
            if id_ in ids and id_ in self._failures
        ]
        return SavedQueries(
            {id_: version.query for id_, version in self._known.items() if id_ in ids},
            {id_: why for id_, why in self._failures.items() if id_ in ids},
            tuple(Problem(_PLACE, 0, 0, "warning", text) for text in kept),
        )

    def _is_due(self, ids: frozenset[str]) -> bool:
        if self._tried is None or not ids <= self._asked:
            return True
        missing = self._failures.keys() - self._known.keys()
        return self._clock.elapsed() - self._tried >= (_TRIED_EVERY if missing else REFRESHED_EVERY)

    async def _refresh(self, ids: list[str]) -> None:
        """Read all of them once; once Kibana is away, none is asked for any more."""
        if self._reader is None:
            self._reader = self._opened()
        reader, waiting = self._reader, list(ids)
        self._failures = dict.fromkeys(ids, f"{reader.place} took longer than {_LONGEST_S:g} s")
        try:
            async with asyncio.timeout(_LONGEST_S):
                while waiting:
                    await self._read(reader, waiting.pop(0))
        except UnreachableError as error:
            self._failures |= dict.fromkeys(waiting, str(error))
        except TimeoutError:
            return

    async def _read(self, reader: QueryReader, id_: str) -> None:
        try:
            found = await reader.saved_query(id_)
            if found is None or not is_saved_query(found):
                self._known.pop(id_, None)
                self._failures[id_] = f"it is not in {reader.place}"
                return
            saved = read_saved_query(found, Path(f"{reader.place}, saved query {shortened(id_)}"))
        except UnreachableError as error:
            self._failures[id_] = str(error)
            raise
        except (RunnerError, ValueError) as error:
            self._failures[id_] = str(error)
            return
        self._known[id_] = _Version(saved, self._clock.now())
        del self._failures[id_]
