"""What a test plans to go wrong between the client and the node, and what the client asked: used by the proxy."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it reached the proxy; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def lines(self) -> list[Any]:
        """The body of a bulk request."""
        return [json.loads(line) for line in self.body.splitlines() if line]


class Gate:
    """A door that a request waits at until the test opens it: a delay without a clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = asyncio.Event()
        self._reached = threading.Event()

    def wait_reached(self, seconds: float = WAIT_SECONDS) -> None:
        """Return once a request stands before the gate, else raise `TimeoutError`. Async tests call it in a thread."""
        if not self._reached.wait(seconds):
            raise TimeoutError(f"no request reached the gate within {seconds:g} s")

    def open(self) -> None:
        """Let through whoever waits, and everybody after."""
        self._loop.call_soon_threadsafe(self._open.set)

    async def passed(self) -> None:
        self._reached.set()
        await self._open.wait()


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer this instead of asking the node."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection: before any answer, or after so many bytes of the body."""

    after: int | None = None
    reached_node: bool = False


@dataclass(frozen=True, slots=True)
class Slow:
    """Send half of the body, and the rest that much later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait before the request is carried out."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait at a gate before the request is carried out."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class Partial:
    """An EQL search of which some shards failed, or which timed out."""

    failures: Sequence[Mapping[str, Any]]
    timed_out: bool = False
    obey: bool = True
    """False: answer partial results even if the request does not allow them."""


Action = Refuse | Cut | Slow | Wait | Hold | Partial


@dataclass(slots=True)
class _Plan:
    action: Action
    on: str
    method: str | None
    left: float

    def fits(self, method: str, path: str) -> bool:
        return self.left > 0 and self.on in path and self.method in (None, method)


class Faults:
    """The planned faults, taken in the order in which they were planned; safe between threads."""

    def __init__(self) -> None:
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()

    def plan(self, action: Action, *, on: str, method: str | None, times: float) -> None:
        with self._lock:
            self._plans.append(_Plan(action, on, method, times))

    def clear(self) -> None:
        with self._lock:
            self._plans.clear()

    def take(self, method: str, path: str, *, kinds: tuple[type[Action], ...]) -> Action | None:
        """The first planned action of these kinds that fits, used up by one."""
        with self._lock:
            for plan in self._plans:
                if isinstance(plan.action, kinds) and plan.fits(method, path):
                    plan.left -= 1
                    return plan.action
        return None


def error_body(status: int, kind: str, reason: str, **more: Any) -> dict[str, Any]:
    """An error in the form of Elasticsearch."""
    cause = {"type": kind, "reason": reason, **more}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


REFUSALS: Mapping[int, tuple[str, str]] = {
    400: ("illegal_argument_exception", "refused by the test"),
    401: ("security_exception", "missing authentication credentials for REST request"),
    403: ("security_exception", "action is unauthorized for user [tester]"),
    404: ("index_not_found_exception", "no such index"),
    408: ("process_cluster_event_timeout_exception", "failed to process cluster event within 30s"),
    413: ("content_too_long_exception", "entity content is too long"),
    429: ("es_rejected_execution_exception", "rejected execution of coordinating operation"),
    500: ("null_pointer_exception", "unexpected"),
    502: ("bad_gateway", "bad gateway"),
    503: ("cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];"),
    504: ("gateway_timeout", "gateway timeout"),
}
"""Status -> type and reason of the error that Elasticsearch, or what stands before it, gives with it."""
