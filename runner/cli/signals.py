"""SIGTERM and Ctrl-C: the first ends the work in order; Ctrl-C once more ends the process at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

_SAME_SIGNAL_S = 1.0
"""Seconds within which signals count as one: `timeout`, shells and supervisors signal process and group."""


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at the first SIGTERM or Ctrl-C. A later Ctrl-C ends the process at once; further SIGTERMs do not."""
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def on_signal(number: int) -> None:
        if not first:
            first.append(loop.time())
            stop()
        elif number == signal.SIGINT and loop.time() - first[0] > _SAME_SIGNAL_S:
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
