"""Scope of a query: the index patterns and the span of time whose events it searches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.events.columns.batch import EventBatch, Rows
from runner.events.columns.event_groups import NAMESPACE, STREAM_FIELDS
from runner.events.fields.index_patterns import depends_on_namespace, index_selector
from runner.events.fields.timestamp_column import NO_TIME

Mask: TypeAlias = NDArray[np.bool_]
_Period: TypeAlias = tuple[tuple[str, ...], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Events of the indices with a timestamp in the span (nanoseconds since 1970, both ends inclusive; None: any time).

    `times` names the timestamp field, then its fallbacks for events without a value in the fields before.
    """

    indices: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    span: tuple[int, int] | None = None

    @property
    def period(self) -> _Period | None:
        return None if self.span is None else (self.times, self.span)


class ScopeMasks:
    """Membership of indices in scopes and, for one batch at a time, of events by their time; shared parts are computed
    once."""

    def __init__(self, scopes: Iterable[Scope]) -> None:
        known = frozenset(scopes)
        self._selectors = {indices: cache(index_selector(indices)) for indices in {scope.indices for scope in known}}
        self.turn_to(known)

    def stream_fields(self) -> list[str]:
        """The data stream fields that decide whether a plain document belongs to a scope."""
        if not any(self._selectors):
            return []
        is_whole = any(map(depends_on_namespace, self._selectors))
        return [field.name for field in STREAM_FIELDS if is_whole or field is not NAMESPACE]

    def selects(self, indices: tuple[str, ...], stream: str | None) -> bool:
        """Whether the index or data stream matches the patterns; every one does if there are none."""
        return not indices or self._selectors[indices](stream)

    def turn_to(self, scopes: Iterable[Scope]) -> None:
        """Replace the spans of time for the same indices, and drop the last batch."""
        self._every = frozenset(scope.period for scope in scopes)
        self._batch: EventBatch | None = None
        self._within: Mask = np.zeros(0, dtype=np.bool_)
        self._periods: dict[_Period | None, Mask] = {}

    def begin(self, batch: EventBatch) -> Mask:
        """Start on a batch; returns a mask of the events in the span of any scope."""
        if batch is not self._batch:
            self._batch = batch
            self._periods = {}
            self._within = np.zeros(len(batch), dtype=np.bool_)
            for period in self._every:
                self._within |= self._period(period)
        return self._within

    def inside(self, scope: Scope, rows: Rows) -> Rows:
        """The rows that are in the span of the scope."""
        return rows if scope.period is None else rows[self._period(scope.period)[rows]]

    def _period(self, period: _Period | None) -> Mask:
        known = self._periods.get(period)
        if known is None:
            assert self._batch is not None
            known = self._periods[period] = _within(self._batch, period)
        return known


def _within(batch: EventBatch, period: _Period | None) -> Mask:
    if period is None:
        return np.ones(len(batch), dtype=np.bool_)
    names, (start, end) = period
    times = batch.timestamps(names[0])
    for fallback in names[1:]:
        times = np.where(times == NO_TIME, batch.timestamps(fallback), times)
    return (times >= start) & (times <= end)
