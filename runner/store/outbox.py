"""The outbox: what each notification target is owed, until it is delivered or given up.

An alert that a target wants becomes a waiting `OutboxItem`, at the latest when the alert is stored. Items that are due
become an `OutboxMessage` with a lasting id, stored before it is sent; it is removed after it was. One process at a time
sends to a target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from runner.windows import from_nanoseconds, nanoseconds

SUMMARY_FIELDS: Final = ("time", "severity", "risk", "rule", "host", "user", "reason", "url")
"""What is kept of an alert beside its id, so that it can be told even if its document is gone."""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One alert, or one notice of the runner's health, that a target is owed."""

    id: str
    """The alert's; that of a notice begins with `health:`."""
    added: datetime
    rank: int
    """1 (low) to 4 (critical)."""
    group: str = ""
    """Items with equal texts are told in one message."""
    summary: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_health(self) -> bool:
        return self.id.startswith("health:")

    def as_json(self) -> dict[str, Any]:
        added = nanoseconds(self.added)
        return {"id": self.id, "added": added, "rank": self.rank, "group": self.group, "summary": dict(self.summary)}


MessageKind: TypeAlias = Literal["alert", "digest", "health"]


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """Items that are sent together; the id, and the items, are the same at each try."""

    id: str
    kind: MessageKind
    items: tuple[OutboxItem, ...]
    created: datetime
    tries: int = 0
    not_before: datetime | None = None
    error: str = ""

    @property
    def oldest(self) -> datetime:
        """When the first of its items began to wait."""
        return min(item.added for item in self.items)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "items": [item.as_json() for item in self.items],
            "created": nanoseconds(self.created),
            "tries": self.tries,
            "not_before": _number(self.not_before),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """What has become of a target's messages so far. Times are the machine's."""

    since: datetime
    """When the target was first seen: alerts from before are not sent to it."""
    messages: int = 0
    """Delivered."""
    alerts: int = 0
    """In delivered messages."""
    failed_tries: int = 0
    given_up: int = 0
    """Alerts that could not be sent for too long."""
    failures: int = 0
    """Tries without a success since the last one."""
    not_before: datetime | None = None
    """No try before, since the target fails or has asked for that."""
    last_success: datetime | None = None
    last_failure: datetime | None = None
    last_error: str = ""
    sent: tuple[datetime, ...] = ()
    """When the last messages were made, ascending, as far as they count under the rate limit."""

    def as_json(self) -> dict[str, Any]:
        """The record as it is stored."""
        return {
            name: [nanoseconds(time) for time in value]
            if isinstance(value, tuple)
            else nanoseconds(value)
            if isinstance(value, datetime)
            else value
            for name in self.__slots__
            for value in [getattr(self, name)]
        }


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for a target: alerts and notices, in messages or not yet."""

    items: int = 0
    messages: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is wrong with the runner, or about to be: `seen` times so far, told since `began`."""

    key: str
    seen: int = 0
    began: datetime | None = None
    text: str = ""
    amount: float = 0.0
    """How bad it was when it was told, where that can grow."""

    def as_json(self) -> dict[str, Any]:
        began = _number(self.began)
        return {"key": self.key, "seen": self.seen, "began": began, "text": self.text, "amount": self.amount}


ItemOf: TypeAlias = Callable[[str, Mapping[str, Any] | None], OutboxItem | None]
"""The item that an alert becomes for a target, by its id and its document; None where the target does not want it.
The document is None if it is damaged."""


class Outbox(Protocol):
    """Where it is kept what targets are owed. Every method raises StoreError, and what the client of a cluster does."""

    async def open(self, target: str, now: datetime) -> TargetRecord:
        """The record of a target; a new one, to which alerts are owed that are created from now on."""
        ...

    async def take_in(self, target: str, item_of: ItemOf) -> bool:
        """Make items of alerts that were created since the last call, in order; whether there may be more of them."""
        ...

    async def waiting(self, target: str, most: int) -> Sequence[OutboxItem]:
        """The items that are in no message: the highest ranks first, the oldest of these first."""
        ...

    async def pending(self, target: str) -> Sequence[OutboxMessage]:
        """The messages that were neither delivered nor given up, the oldest first."""
        ...

    async def backlog(self, target: str) -> Backlog:
        """What waits for the target."""
        ...

    async def make(self, target: str, messages: Sequence[OutboxMessage], record: TargetRecord) -> None:
        """Store messages, whose items then wait no longer, and the record."""
        ...

    async def note(
        self, target: str, done: Sequence[OutboxMessage], kept: Sequence[OutboxMessage], record: TargetRecord
    ) -> None:
        """Remove the messages that are done, replace those that are kept, and store the record."""
        ...

    async def targets(self) -> Mapping[str, TargetRecord]:
        """The records of all targets that were ever opened and not forgotten."""
        ...

    async def forget(self, target: str) -> None:
        """Remove everything of a target."""
        ...

    async def incidents(self) -> Mapping[str, Incident]:
        """The incidents that are not over, by key."""
        ...

    async def set_incident(
        self, key: str, incident: Incident | None, items: Mapping[str, Sequence[OutboxItem]]
    ) -> None:
        """Store an incident, or remove it, and owe items to targets."""
        ...


def message_id(target: str, items: Sequence[OutboxItem]) -> str:
    """The id of the message that tells a target of these items: the same for the same target and items.

    >>> len(message_id("soc", ()))
    32
    """
    text = "\n".join((target, *sorted(item.id for item in items)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read_item(found: Mapping[str, Any]) -> OutboxItem:
    """The item of what `as_json` gives. Raises KeyError, TypeError, ValueError for anything else."""
    added = from_nanoseconds(found["added"])
    return OutboxItem(found["id"], added, int(found["rank"]), str(found["group"]), dict(found["summary"]))


def read_message(found: Mapping[str, Any]) -> OutboxMessage:
    """The message of what `as_json` gives. Raises KeyError, TypeError, ValueError for anything else."""
    return OutboxMessage(
        found["id"],
        found["kind"],
        tuple(map(read_item, found["items"])),
        from_nanoseconds(found["created"]),
        int(found["tries"]),
        _moment(found["not_before"]),
        str(found["error"]),
    )


def read_target_record(found: Mapping[str, Any]) -> TargetRecord:
    """The record of what `as_json` gives. Raises KeyError, TypeError, ValueError for anything else."""
    return TargetRecord(
        from_nanoseconds(found["since"]),
        messages=int(found["messages"]),
        alerts=int(found["alerts"]),
        failed_tries=int(found["failed_tries"]),
        given_up=int(found["given_up"]),
        failures=int(found["failures"]),
        not_before=_moment(found["not_before"]),
        last_success=_moment(found["last_success"]),
        last_failure=_moment(found["last_failure"]),
        last_error=str(found["last_error"]),
        sent=tuple(map(from_nanoseconds, found["sent"])),
    )


def read_incident(found: Mapping[str, Any]) -> Incident:
    """The incident of what `as_json` gives. Raises KeyError, TypeError, ValueError for anything else."""
    began = _moment(found["began"])
    return Incident(str(found["key"]), int(found["seen"]), began, str(found["text"]), float(found["amount"]))


def _number(moment: datetime | None) -> int | None:
    return None if moment is None else nanoseconds(moment)


def _moment(number: int | None) -> datetime | None:
    return None if number is None else from_nanoseconds(number)
