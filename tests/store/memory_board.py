"""A board of leases in the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from runner.store.leases import Change, Posted


class MemoryBoard:
    """A board in the process. Its runners are as many `SharedLeases` as are given it."""

    def __init__(self) -> None:
        self._posted: dict[str, Posted] = {}
        self._versions = count(1)

    async def read(self) -> Mapping[str, Posted]:
        return dict(self._posted)

    async def post(self, changes: Sequence[Change]) -> frozenset[str]:
        written: set[str] = set()
        for change in changes:
            if not change.always and self._posted.get(change.key) != change.after:
                continue
            if change.note is None:
                self._posted.pop(change.key, None)
            else:
                self._posted[change.key] = Posted(change.note, (next(self._versions), 1))
            written.add(change.key)
        return frozenset(written)
