"""Which events a program is asked about, by index and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.events.batch import EventBatch
from runner.events.origin import index_selector
from runner.events.timestamps import NO_TIME

Mask: TypeAlias = NDArray[np.bool_]
_Period: TypeAlias = tuple[tuple[str, ...], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which events a program is asked about: those of the indices, with a timestamp in the span (nanoseconds,
    inclusive).

    `times` names the timestamp field, and after it those that count where the ones before have no value. No span: all
    events.
    """

    indices: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    span: tuple[int, int] | None = None

    @property
    def period(self) -> _Period | None:
        return None if self.span is None else (self.times, self.span)


class ScopeMasks:
    """For one batch at a time, the events of each scope. What several scopes have in common is worked out once."""

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self._scopes = frozenset(scopes)
        self._selectors: dict[tuple[str, ...], Callable[[str | None], bool]] = {
            scope.indices: cache(index_selector(scope.indices)) for scope in self._scopes
        }
        self._batch: EventBatch | None = None
        self._periods: dict[_Period | None, Mask] = {}
        self._indices: dict[tuple[str, ...], Mask] = {}
        self._masks: dict[Scope, Mask] = {}

    def begin(self, batch: EventBatch) -> Mask:
        """Turn to the next batch; returns a mask of events outside of which no scope has any."""
        self._batch = batch
        self._periods, self._indices, self._masks = {}, {}, {}
        within = np.zeros(len(batch), dtype=np.bool_)
        for period in {scope.period for scope in self._scopes}:
            within |= self._period(period)
        selected = np.zeros(len(batch), dtype=np.bool_)
        for indices in self._selectors:
            selected |= self._selected(indices)
        return within & selected

    def indices_present(self) -> frozenset[tuple[str, ...]]:
        """The index patterns that select any event of the batch."""
        return frozenset(indices for indices in self._selectors if self._selected(indices).any())

    def mask(self, scope: Scope) -> Mask:
        """Of each event of the batch, whether it is in the scope."""
        known = self._masks.get(scope)
        if known is None:
            known = self._masks[scope] = self._period(scope.period) & self._selected(scope.indices)
        return known

    def _period(self, period: _Period | None) -> Mask:
        known = self._periods.get(period)
        if known is None:
            assert self._batch is not None
            known = self._periods[period] = _within(self._batch, period)
        return known

    def _selected(self, indices: tuple[str, ...]) -> Mask:
        known = self._indices.get(indices)
        if known is None:
            assert self._batch is not None
            if indices:
                numbers, names = self._batch.streams()
                chosen = np.fromiter(map(self._selectors[indices], names), dtype=np.bool_, count=len(names))
                known = chosen[numbers]
            else:
                known = np.ones(len(self._batch), dtype=np.bool_)
            self._indices[indices] = known
        return known


def _within(batch: EventBatch, period: _Period | None) -> Mask:
    if period is None:
        return np.ones(len(batch), dtype=np.bool_)
    names, (start, end) = period
    times = batch.timestamps(names[0])
    for fallback in names[1:]:
        times = np.where(times == NO_TIME, batch.timestamps(fallback), times)
    return (times >= start) & (times <= end)
