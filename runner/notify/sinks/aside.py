"""Blocking calls on threads that hold up nothing: neither the loop, nor the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_MOST_HANGING: Final = 3


class HangingError(Exception):
    """Too many calls of before have not come back."""


class Aside:
    """Runs the blocking calls of one target, each on a thread of its own that ends with the process at the latest."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left: list[threading.Thread] = []
        """Those whose calls nobody waits for any more."""

    async def run(self, call: Callable[[], T]) -> T:
        """The result of the call. Cancelled, it leaves the call to itself; raises HangingError if too many were."""
        self._left = [thread for thread in self._left if thread.is_alive()]
        if len(self._left) >= _MOST_HANGING:
            raise HangingError(f"{len(self._left)} tries of before still hang")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                _tell(loop, future, error)
            else:
                _tell(loop, future, None, result)

        thread = threading.Thread(target=work, name=self._name, daemon=True)
        thread.start()
        try:
            return await future
        except asyncio.CancelledError:
            self._left.append(thread)
            raise


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], error: Exception | None, result: T | None = None
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    if not loop.is_closed():
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            return  # the loop was closed meanwhile: nobody waits
