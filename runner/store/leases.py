"""Leases: which of several runners leads which rules, so that they share the work.

Nothing but the amount of work depends on them. Two runners that both believe they lead a rule write the same alerts
under the same ids, and the ledger merges what both have searched. So a lease may be lost at any moment without harm.

Rules are led in groups by a hash of their id. A group is named after the rules in it: of two runners that have read
different rule files, each leads the group as it knows it, and no rule is left to one that does not have it.

On a board that all runners see, every runner keeps one note that it renews, and every group has a note that names its
leader. A runner is alive as long as its note keeps changing, by the observer's own clock; the clocks of the others do
not matter.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Protocol

GROUPS = 64
"""How many groups the rules are put into: enough for an even share of many runners, few enough for one request."""


class Leases(Protocol):
    """Who leads which rules."""

    async def hold(self, wanted: Collection[str]) -> frozenset[str]:
        """Those of the rules, by id, that this runner leads from now on; what it leads already is renewed."""
        ...

    async def release(self) -> None:
        """Give back everything, for others to take at once."""
        ...


class EveryRule:
    """The leases of a runner that works alone: it leads every rule it wants."""

    async def hold(self, wanted: Collection[str]) -> frozenset[str]:
        """All of them."""
        return frozenset(wanted)

    async def release(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True, slots=True)
class Note:
    """The value under one key of a board. The note of a runner names the groups of the rules that it has; the note of a
    group names its leader, "" for none."""

    owner: str
    groups: tuple[str, ...] = ()
    beat: int = 0
    """Counts the renewals, so that each of them changes the note."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A note as it was read, with its version: two reads of one version are of the same note, never renewed between."""

    note: Note
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Change:
    """The note to write under a key, None to delete it; only if the present note is `after`: none, if that is None.

    With `always` it is written unconditionally.
    """

    key: str
    note: Note | None
    after: Posted | None = None
    always: bool = False


class LeaseBoard(Protocol):
    """A place for notes that several runners see: compare and swap, one note at a time."""

    async def read(self) -> Mapping[str, Posted]:
        """Every note by key, the last writes of all runners included."""
        ...

    async def post(self, changes: Sequence[Change]) -> frozenset[str]:
        """Write what can be written; returns the keys that were."""
        ...


class SharedLeases:
    """The leases of one of several runners on a board. Implements `Leases`.

    `owner` is a name of this runner alone. `duration` is how long a runner may be silent before the others take over
    its groups; `elapsed` is the time since some moment, unaffected by settings of the clock.
    """

    def __init__(self, board: LeaseBoard, owner: str, *, duration: timedelta, elapsed: Callable[[], timedelta]) -> None:
        self._board = board
        self._owner = owner
        self._duration = duration
        self._elapsed = elapsed
        self._beats = count(1)
        self._since: dict[str, tuple[tuple[int, int], timedelta]] = {}
        self._read_at: timedelta | None = None
        self._one_at_a_time = asyncio.Lock()

    async def hold(self, wanted: Collection[str]) -> frozenset[str]:
        """Those of the rules that this runner leads from now on; raises what the board raises.

        Costs one write and one read, and one more write when groups change hands.
        """
        groups = groups_of(wanted)
        names = frozenset(groups.values())
        async with self._one_at_a_time:
            beat = Note(self._owner, tuple(sorted(names)), next(self._beats))
            await self._board.post([Change(_runner_key(self._owner), beat, always=True)])
            posted = await self._board.read()
            held = await self._share(posted, names)
        return frozenset(rule_id for rule_id, group in groups.items() if group in held)

    async def release(self) -> None:
        """Give back every group and delete the own note."""
        async with self._one_at_a_time:
            posted = await self._board.read()
            ours = [
                Change(key, Note(""), after=found)
                for key, found in posted.items()
                if _group_in(key) is not None and found.note.owner == self._owner
            ]
            await self._board.post([*ours, Change(_runner_key(self._owner), None, always=True)])

    async def _share(self, posted: Mapping[str, Posted], groups: frozenset[str]) -> set[str]:
        """The groups that this runner leads after taking its share and passing on what exceeds it."""
        runners = self._alive(posted) | {self._owner: groups}
        leaders = {
            group: found.note.owner
            for key, found in posted.items()
            if (group := _group_in(key)) is not None and found.note.owner in runners
        }
        changes: list[Change] = []
        held = {group for group, leader in leaders.items() if leader == self._owner}
        shares = share_out(runners, leaders)
        for group, leader in shares.items():
            is_free, is_ours = group not in leaders, leaders.get(group) == self._owner
            if (leader == self._owner and is_free) or (leader != self._owner and is_ours):
                changes.append(Change(_group_key(group), Note(leader), after=posted.get(_group_key(group))))
        # Delete notes of expired runners and of empty groups. A runner that was only slow will write its note again.
        for key, found in posted.items():
            group_ = _group_in(key)
            if found.note.owner not in runners if group_ is None else group_ not in shares:
                changes.append(Change(key, None, after=found))
        if changes:
            written = await self._board.post(changes)
            for change in changes:
                if (name := _group_in(change.key)) is None:
                    continue
                if change.key in written and change.note is not None and change.note.owner == self._owner:
                    held.add(name)
                else:
                    held.discard(name)  # passed on, or another runner was faster
        return held

    def _alive(self, posted: Mapping[str, Posted]) -> dict[str, frozenset[str]]:
        """The runners whose notes have changed within the duration, with the groups of the rules that they have."""
        now = self._elapsed()
        if self._read_at is None or now - self._read_at >= self._duration:
            self._since.clear()  # read too long ago: every runner gets the whole duration to renew its note
        self._read_at = now
        notes = {key: found for key, found in posted.items() if _group_in(key) is None}
        self._since = {
            key: old if (old := self._since.get(key, (None, now)))[0] == found.version else (found.version, now)
            for key, found in notes.items()
        }
        return {
            found.note.owner: frozenset(found.note.groups)
            for key, found in notes.items()
            if now - self._since[key][1] < self._duration
        }


def groups_of(rule_ids: Iterable[str]) -> dict[str, str]:
    """The name of the group of each rule: the same for every runner that has the same rules in it.

    >>> names = groups_of(["48b3d2e3-f4e8-41e6-95e6-9b2091228db3", "76e4d92b-61c1-4a95-ab61-5fd94179a1ee"])
    >>> sorted(names.values())
    ['31-b388dd89', '9-5036219e']
    """
    members: dict[int, list[str]] = {}
    for rule_id in sorted(set(rule_ids)):
        members.setdefault(group_of(rule_id), []).append(rule_id)
    names = {
        group: f"{group}-{hashlib.sha256(chr(0).join(rules).encode()).hexdigest()[:8]}"
        for group, rules in members.items()
    }
    return {rule_id: names[group] for group, rules in members.items() for rule_id in rules}


def group_of(rule_id: str) -> int:
    """The number of the group that a rule belongs to, below `GROUPS`."""
    return int.from_bytes(hashlib.sha256(b"group:" + rule_id.encode()).digest()[:8], "big") % GROUPS


def share_out(runners: Mapping[str, Collection[str]], leaders: Mapping[str, str]) -> dict[str, str]:
    """The leader of each group: shares as even as possible, and within them every runner keeps what it leads.

    A group goes to a runner that has its rules. Deterministic, so that runners that read the same notes agree.

    >>> share_out({"a": ["1", "2", "3"], "b": ["1", "2", "3"]}, {"1": "a", "2": "a", "3": "a"})
    {'1': 'a', '2': 'a', '3': 'b'}
    """
    groups = sorted({group for wanted in runners.values() for group in wanted})
    leading = Counter(leaders[group] for group in groups if group in leaders)
    each, over = divmod(len(groups), len(runners))  # the remainder goes to those that lead most
    ranked = sorted(runners, key=lambda name: (-leading[name], name))
    shares = {name: each + (place < over) for place, name in enumerate(ranked)}
    shared: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for group in groups:
        leader = leaders.get(group, "")
        if leader in runners and group in runners[leader] and taken[leader] < shares[leader]:
            shared[group] = leader
            taken[leader] += 1
    for group in groups:
        if group not in shared:
            able = [name for name, wanted in runners.items() if group in wanted]
            shared[group] = min(able, key=lambda name: (taken[name] >= shares[name], taken[name], name))
            taken[shared[group]] += 1
    return dict(sorted(shared.items()))


def _runner_key(owner: str) -> str:
    return f"runner:{owner}"


def _group_key(group: str) -> str:
    return f"group:{group}"


def _group_in(key: str) -> str | None:
    """The name of the group that the key stands for; None for the key of a runner."""
    kind, _, name = key.partition(":")
    return name if kind == "group" else None
