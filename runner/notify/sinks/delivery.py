"""`Delivery`: what became of one try to send a message; and the protocol of what sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from runner.store.outbox import OutboxMessage
from runner.store.protocol import StoredAlert


@dataclass(frozen=True, slots=True)
class Delivery:
    """The outcome of a try. A message counts as delivered only if the target has said so."""

    ok: bool
    reason: str = ""
    """Why not; secrets may be in it."""
    is_refused: bool = False
    """The target takes other messages, but not this one."""
    retry_after: timedelta | None = None
    """How long the target asks not to be tried again."""
    is_closed: bool = False
    """Nothing can be sent to the target any more in this process: the reader of a pipe is gone."""


DELIVERED = Delivery(True)


class MessageSink(Protocol):
    """Sends messages to one target."""

    async def send(self, message: OutboxMessage, alerts: Mapping[str, StoredAlert], now: datetime) -> Delivery:
        """Try once, for no longer than the target's time limit; raises nothing but a cancellation."""
        ...

    async def close(self) -> None:
        """Give back what is open."""
        ...
