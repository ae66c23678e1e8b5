"""Watermark of a pass: the point in time up to which all of its events have come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NO_EVENT = -1


@dataclass(frozen=True, slots=True)
class Edge:
    """Up to where the events of a pass are known: all of those before `time`, and at that time those with numbers up to
    `event`."""

    time: int
    event: int = _NO_EVENT

    def passed(self, times: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of each event whether it is within what is known."""
        last = (times == self.time) & (events <= self.event)
        passed: NDArray[np.bool_] = (times < self.time) | last
        return passed
