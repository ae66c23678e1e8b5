"""The garbage collector while events are read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 200_000


@contextmanager
def rarely_collecting() -> Iterator[None]:
    """Have the collector look for cycles less often: a pass makes objects by the million, and hardly any cycle.

    What it was set to before comes back afterwards.
    """
    before = gc.get_threshold()
    if gc.isenabled() and before[0]:
        gc.set_threshold(max(before[0], _OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def pass_over() -> None:
    """Have the collector pass over all objects that there are now, until the pass has ended: what a pass has learnt
    stays, and need not be gone through again and again."""
    if gc.isenabled():
        gc.freeze()
