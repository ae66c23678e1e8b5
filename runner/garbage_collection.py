"""The garbage collector while events are read."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_OBJECTS = 200_000


@contextmanager
def rarely_collecting() -> Iterator[Callable[[], None]]:
    """Have the collector look for cycles less often: a pass makes objects by the million, and hardly any cycle.

    What is given has it pass over all objects that there are at that moment: what a pass has learnt stays, and need not
    be gone through again and again. What the collector was set to before comes back afterwards.
    """
    before = gc.get_threshold()
    is_on = gc.isenabled() and bool(before[0])
    is_free = gc.get_freeze_count() == 0  # else somebody has objects passed over for good, which has to stay so
    if is_on:
        gc.set_threshold(max(before[0], _OBJECTS), *before[1:])
    try:
        yield gc.freeze if is_on and is_free else _nothing
    finally:
        gc.set_threshold(*before)
        if is_on and is_free:
            gc.unfreeze()


def _nothing() -> None:
    """What is done where the collector is not to be changed."""


@contextmanager
def resting_collector() -> Iterator[None]:
    """No garbage collection within; of two threads in here at once, the first to leave ends the rest for both."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Heap:
    """Spares the garbage collector what stays for as long as the rules do, once the first tick with them is over.

    Of a thousand rules that is a million objects, which it would walk over again and again: a third of a tick's time.
    """

    def __init__(self) -> None:
        self._changed = False

    def note_rules(self) -> None:
        """The rules have changed: what they need is made in the tick that is under way."""
        self._changed = True

    def note_tick(self) -> None:
        """A tick is over."""
        if self._changed:
            self._changed = False
            gc.unfreeze()
            gc.collect()
            gc.freeze()
