"""`OwnLoop`: a loop on a thread of its own, in which messages are sent.

Of its own, since a search may keep the service's loop busy for longer than a target is waited for: an answer that has
come meanwhile would be taken for none, and the message would be sent again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from runner.notify.sinks.delivery import Delivery, MessageSink
from runner.store.outbox import OutboxMessage
from runner.store.protocol import StoredAlert

T = TypeVar("T")

_END_S: Final = 0.5


class OwnLoop:
    """Begins with the first call, and ends with `close` or with the process."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the coroutine, which runs in the other loop; cancelled together with this."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name="notify", daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """End the thread, and wait a moment for that."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_S)
            self._loop = self._thread = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(_cancel_the_rest())
    loop.close()


async def _cancel_the_rest() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_END_S)


class LoopedSink:
    """The same sink, in that loop. Implements `MessageSink`."""

    def __init__(self, sink: MessageSink, loop: OwnLoop) -> None:
        self._sink, self._loop = sink, loop

    async def send(self, message: OutboxMessage, alerts: Mapping[str, StoredAlert], now: datetime) -> Delivery:
        return await self._loop.run(self._sink.send(message, alerts, now))

    async def close(self) -> None:
        await self._loop.run(self._sink.close())
