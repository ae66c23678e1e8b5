"""`KibanaExceptions`: the lists in Kibana that rules refer to, as exceptions; read again at most once a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeAlias

from runner.clock import Clock
from runner.errors import Problem, RunnerError, UnreachableError
from runner.exceptions.item import ExceptionItem, ValueList
from runner.exceptions.kibana_form import ListKey
from runner.exceptions.listed import FetchedValues, ListedExceptions, list_users, read_listed, value_lists_of
from runner.exceptions.load import LISTS
from runner.messages.quantities import counted
from runner.rules.model_errors import shortened
from runner.rules.rule import Rule
from runner.windows import iso

REFRESHED_EVERY: Final = timedelta(minutes=1)
_TRIED_EVERY: Final = timedelta(seconds=10)
"""The same while a list is not known at all: its rules wait for it."""
_LONGEST_S: Final = 20.0
"""Seconds that one refresh may take; what was not read by then counts as not readable."""
_AT_ONCE: Final = 4
_ENDPOINT: Final = "endpoint"
_Items: TypeAlias = tuple[Mapping[str, Any], ...]


class ListReader(Protocol):
    """Reads the lists of one Kibana. Raises RunnerError, UnreachableError if it is away."""

    @property
    def place(self) -> str:
        """The Kibana, for messages."""
        ...

    async def items(self, list_id: str, namespace_type: str) -> _Items | None:
        """The items of an exception list; None if there is no such list."""
        ...

    async def values(self, list_id: str) -> tuple[str, ...] | None:
        """The values of a value list; None if there is no such list."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Version:
    """A list as it was read."""

    items: _Items
    read: datetime


class KibanaExceptions:
    """The exceptions of the lists that rules refer to, with the last good version of a list that cannot be read."""

    def __init__(self, reader: ListReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._known: dict[ListKey, _Version] = {}
        self._values: dict[str, ValueList] = {}
        self._failures: dict[ListKey, str] = {}
        self._absent: set[ListKey] = set()
        self._tried: timedelta | None = None
        self._asked: frozenset[ListKey] = frozenset()
        self._sound: tuple[tuple[ExceptionItem, ...], tuple[Problem, ...]] = ((), ())

    async def close(self) -> None:
        await self._reader.close()

    async def listed(self, rules: Sequence[Rule]) -> ListedExceptions:
        """The exceptions of the lists that the rules refer to; those of agents alone are passed over."""
        users = list_users(rules)
        wanted = frozenset(users)
        if self._is_due(wanted):
            self._tried, self._asked = self._clock.elapsed(), wanted
            await self._refresh(wanted)
        problems: list[Problem] = []
        unread: dict[ListKey, str] = {}
        absent: dict[ListKey, str] = {}
        for key, those in users.items():
            self._judge(key, those, problems=problems, unread=unread, absent=absent)
        items = tuple(item for item in self._sound[0] if not wanted.isdisjoint(item.lists))
        return ListedExceptions(items, (*problems, *self._sound[1]), unread, absent)

    def _is_due(self, wanted: frozenset[ListKey]) -> bool:
        if self._tried is None or not wanted <= self._asked:
            return bool(wanted)
        missing = self._failures.keys() - self._known.keys()
        return self._clock.elapsed() - self._tried >= (_TRIED_EVERY if missing else REFRESHED_EVERY)

    def _judge(
        self,
        key: ListKey,
        users: Sequence[Rule],
        *,
        problems: list[Problem],
        unread: dict[ListKey, str],
        absent: dict[ListKey, str],
    ) -> None:
        """Sort what is wrong with one list: doubtful, not known, or not there."""
        name, place = shortened(key[0]), self._reader.place
        if key in self._known:
            if why := self._failures.get(key):
                kept = f"; its version of {iso(self._known[key].read)} stays in use"
                message = f"`{name}` cannot be read: {why}{kept}"
                problems.append(Problem(LISTS, 0, 0, "warning", message, code="unread-list"))
            return
        if key in self._absent and key[0].startswith(_ENDPOINT):
            why = f"`{name}` is not in {place}: it excepts nothing"
            problems.append(Problem(LISTS, 0, 0, "warning", why, code="unread-list"))
            return
        owed = f"{_rules(users)} not searched without its exceptions, and the windows stay owed"
        way_out = "RUNNER_KIBANA_EXCEPTIONS=false searches without the lists of Kibana"
        if key in self._absent:
            absent[key] = (
                f"the exception list `{name}` is not in {place}: {owed}; make the list, put its items into a file of "
                f"exceptions, or take it out of the rule; {way_out}"
            )
        else:
            why = self._failures.get(key, "it was not read yet")
            unread[key] = f"the exception list `{name}` cannot be read: {why}; {owed} until it can be; {way_out}"

    async def _refresh(self, wanted: Collection[ListKey]) -> None:
        """Read all lists once, the oldest versions first; what cannot be read keeps its version."""
        found: dict[ListKey, _Items] = {}
        late = f"{self._reader.place} took longer than {_LONGEST_S:g} s"
        failures = dict.fromkeys(wanted, late)
        absent: set[ListKey] = set()
        values: dict[str, tuple[str, ...] | None] = {}
        try:
            async with asyncio.timeout(_LONGEST_S):
                await self._read_items(sorted(wanted, key=self._age), found, failures, absent)
                await self._read_values(found, values, failures)
        except TimeoutError:
            unread = [key for key, items in found.items() if not value_lists_of(items) <= values.keys()]
            failures = dict.fromkeys(unread, late) | failures
        now = self._clock.now()
        before = {key: version.items for key, version in self._known.items()}
        for key in found.keys() - failures.keys():
            self._known[key] = _Version(found[key], now)
        self._failures = {key: failures[key] for key in failures if key not in absent or key in self._known}
        self._absent = absent
        changed = self._take_values(values)
        if changed or before != {key: version.items for key, version in self._known.items()}:
            known = {key: self._known[key].items for key in sorted(self._known)}
            self._sound = read_listed(known, FetchedValues(self._values))

    def _age(self, key: ListKey) -> tuple[float, ListKey]:
        return (self._known[key].read.timestamp() if key in self._known else 0.0), key

    async def _read_items(
        self, keys: Sequence[ListKey], found: dict[ListKey, _Items], failures: dict[ListKey, str], absent: set[ListKey]
    ) -> None:
        """Read the lists, a few at a time; once Kibana is away, none is asked for any more."""
        waiting = list(reversed(keys))
        away = ""

        async def work() -> None:
            nonlocal away
            while waiting:
                key = waiting.pop()
                if away:
                    failures[key] = away
                    continue
                try:
                    items = await self._reader.items(*key)
                except RunnerError as error:
                    failures[key] = str(error)
                    away = str(error) if isinstance(error, UnreachableError) else away
                    continue
                if items is None:
                    absent.add(key)
                    failures[key] = f"it is not in {self._reader.place} any more"
                else:
                    found[key] = items
                    del failures[key]

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

    async def _read_values(
        self,
        found: Mapping[ListKey, _Items],
        values: dict[str, tuple[str, ...] | None],
        failures: dict[ListKey, str],
    ) -> None:
        """Read the value lists that items refer to; without one of them a list is not readable."""
        users: dict[str, list[ListKey]] = {}
        for key, items in found.items():
            for list_id in value_lists_of(items):
                users.setdefault(list_id, []).append(key)
        for list_id, keys in sorted(users.items()):
            try:
                values[list_id] = await self._reader.values(list_id)
            except RunnerError as error:
                failures.update(dict.fromkeys(keys, str(error)))

    def _take_values(self, values: Mapping[str, tuple[str, ...] | None]) -> bool:
        """Whether a value list has changed; one with the same values stays the same object, which sets are kept by."""
        before = dict(self._values)
        for list_id, found in values.items():
            known = self._values.get(list_id)
            if found is None:
                self._values.pop(list_id, None)
            elif known is None or known.values != found:
                self._values[list_id] = ValueList(list_id, LISTS / list_id, found)
        return before != self._values


def _rules(rules: Sequence[Rule]) -> str:
    shown = ", ".join(f"`{shortened(rule.name)}`" for rule in rules[:3]) + (", ..." if len(rules) > 3 else "")
    return f"{counted(len(rules), 'rule')} ({shown}) {'is' if len(rules) == 1 else 'are'}"
