"""`LazyMatches`: the matches of one request, each made when it is reached (late materialisation)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from runner.search.protocol import Match

Found = TypeVar("Found")


class LazyMatches(Sequence[Match], Generic[Found]):
    """What was found, in its order, as matches; `made` reads the documents of one."""

    def __init__(self, found: Sequence[Found], made: Callable[[Found], Match]) -> None:
        self._found = found
        self._made = made

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, place: int) -> Match: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Match]: ...
    def __getitem__(self, place: int | slice) -> Match | Sequence[Match]:
        if isinstance(place, slice):
            return LazyMatches(self._found[place], self._made)
        return self._made(self._found[place])

    def __iter__(self) -> Iterator[Match]:
        return map(self.__getitem__, range(len(self)))
