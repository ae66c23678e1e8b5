"""Watermark of a pass (as in stream processing): up to here all of its events have come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NO_EVENT = -1


@dataclass(frozen=True, slots=True, order=True)
class Watermark:
    """All events before `time` (nanoseconds since 1970) have come, and at that time those with ids up to `event`."""

    time: int
    event: int = _NO_EVENT

    def passed(self, times: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.bool_]:
        """A mask of the events at or before the watermark."""
        passed: NDArray[np.bool_] = (times < self.time) | (times == self.time) & (events <= self.event)
        return passed
