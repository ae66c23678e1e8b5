"""SIGTERM and Ctrl-C: both ask for an orderly end; Ctrl-C once more ends the process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

_SAME_WISH_S = 1.0
"""Signals this close together are one wish: `timeout`, shells and supervisors send theirs to process and group."""


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at the first SIGTERM or Ctrl-C. A later Ctrl-C ends the process at once; further SIGTERMs do not."""
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def asked(number: int) -> None:
        if not first:
            first.append(loop.time())
            stop()
        elif number == signal.SIGINT and loop.time() - first[0] > _SAME_WISH_S:
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
