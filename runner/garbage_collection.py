"""When Python's garbage collector rests, and why.

Reference counts free nearly everything here; the collector only finds cycles, and looks at every live object for them.
So it costs most where it finds least: while objects are made by the million, none of them in a cycle
(`rarely_collecting`, `without_collecting`), and over a large heap that lives as long as the rules (`HeapFreezer`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ALLOCATIONS = 200_000
"""New objects between two collections of the youngest generation during a pass over events."""


@contextmanager
def rarely_collecting() -> Iterator[Callable[[], None]]:
    """A function that exempts all objects alive (`gc.freeze`), for a block in which collections are rare.

    A pass makes objects by the million and hardly any cycle; what it has learnt stays to its end. Afterwards the
    thresholds are as before, and the exemption has ended. Nothing is changed where the collector is off, and nothing is
    exempted where somebody else has already done so, for whom it has to last.
    """
    thresholds = gc.get_threshold()
    is_on = gc.isenabled() and bool(thresholds[0])
    freezes = is_on and gc.get_freeze_count() == 0
    # With two passes at once, in two threads, the one that began first restores what was there before both.
    sets = is_on and thresholds[0] < _ALLOCATIONS
    if sets:
        gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    try:
        yield gc.freeze if freezes else lambda: None
    finally:
        if sets:
            gc.set_threshold(*thresholds)
        if freezes:
            gc.unfreeze()


@contextmanager
def without_collecting() -> Iterator[None]:
    """A block without collections, for reading one large answer. Where two threads are in such a block at once, the
    collector is on again when the first of them leaves."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class HeapFreezer:
    """Exempts from collection what rules keep for as long as they are in use, after the first tick with them.

    Of a thousand rules that is a million objects, and a third of a tick's time to look at them.
    """

    def __init__(self) -> None:
        self._rules_changed = False

    def rules_changed(self) -> None:
        """What the rules keep is made in the tick that has begun."""
        self._rules_changed = True

    def tick_done(self) -> None:
        """What is alive now is kept."""
        if self._rules_changed:
            self._rules_changed = False
            gc.unfreeze()
            gc.collect()
            gc.freeze()
