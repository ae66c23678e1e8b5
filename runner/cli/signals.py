"""Ctrl-C, SIGTERM and SIGHUP: the first ends the command within two seconds, wherever it is.

A command is ended by an exception; one that has work in hand ends it in order (`runner.cli.stop`). What has not ended
after `MOST_S` is cut off as by a kill, on which no promise rests.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

MOST_S = 1.7
"""Seconds after the signal at which the process ends in any case."""
_TIMER = "end"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asks the command to end, with this exit status."""

    def __init__(self, number: int, code: int) -> None:
        super().__init__()
        self.number, self.code = number, code


def name_of(number: int) -> str:
    """The signal as a user knows it."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def install(code: int | None = None) -> Callable[[], None]:
    """Have the signals raise `Interrupted` in the main thread; returns what undoes that.

    `code` is the exit status of the process, if that is not the signal's. SIGHUP stays ignored where it is (`nohup`).
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in ENDING}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        del before[signal.SIGHUP]

    def raise_it(number: int, frame: FrameType | None) -> None:
        status = 128 + number if code is None else code
        cut_off_later(status, number)
        raise Interrupted(number, status)

    for number in before:
        signal.signal(number, raise_it)

    def undo() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return undo


def has_come() -> bool:
    """Whether a signal has asked the process to end."""
    return any(thread.name == _TIMER for thread in threading.enumerate())


def tell(text: str) -> None:
    """Write a line on standard error, unless that would have to wait."""
    with suppress(OSError):
        if select.select((), (2,), (), 0)[1]:
            os.write(2, f"{text}\n".encode())


def cut_off_later(code: int, number: int) -> None:
    """End the process soon if it has not ended by itself by then."""
    timer = threading.Timer(MOST_S, cut_off, (code, number))
    timer.name, timer.daemon = _TIMER, True
    timer.start()


def cut_off(code: int, number: int) -> None:
    """End the process as it is; nothing is waited for."""
    tell(f"interrupted by {name_of(number)}: what was not finished is cut off and stays due")
    os._exit(code)
