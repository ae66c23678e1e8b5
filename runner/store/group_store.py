"""`GroupStore`: where the groups of alert suppression are kept, beside the alerts, and their form as JSON."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

from runner.alerts.groups import Group, KeyGroups
from runner.windows import from_nanoseconds, nanoseconds

_DIGEST: Final = 12


class GroupStore(Protocol):
    """The groups of each key. They belong to the alerts, so all sources of events share them."""

    async def read(self, keys: Collection[str]) -> Mapping[str, KeyGroups]:
        """What is stored of these keys, as it was last written."""
        ...

    async def replace(self, records: Sequence[KeyGroups], now: datetime) -> Mapping[str, KeyGroups | None]:
        """Store each record in the place of the one that was read, and of no other.

        By key the record with its new version, or None where another writer was faster: then nothing was written.
        Records that may be forgotten by `now` are removed, perhaps later. Raises StoreError.
        """
        ...


class MemoryGroups:
    """Groups in memory. Implements `GroupStore`."""

    def __init__(self) -> None:
        self._records: dict[str, KeyGroups] = {}

    async def read(self, keys: Collection[str]) -> Mapping[str, KeyGroups]:
        return {key: self._records[key] for key in keys if key in self._records}

    async def replace(self, records: Sequence[KeyGroups], now: datetime) -> Mapping[str, KeyGroups | None]:
        outcome: dict[str, KeyGroups | None] = {}
        for record in records:
            before = self._records.get(record.key)
            outcome[record.key] = None
            if (before.version if before is not None else None) == record.version:
                outcome[record.key] = self._records[record.key] = replace(record, version=(record.version or 0) + 1)
        for key in [key for key, record in self._records.items() if record.until is not None and record.until < now]:
            del self._records[key]
        return outcome


def groups_json(record: KeyGroups) -> list[dict[str, Any]]:
    """The groups of a key as JSON."""
    return [
        {
            "alert": group.alert_id,
            "created": nanoseconds(group.created),
            "start": group.start,
            "end": group.end,
            "count": group.count,
            "touched": nanoseconds(group.touched),
            "written": group.is_written,
            "counted": base64.b64encode(b"".join(sorted(group.counted))).decode(),
        }
        for group in record.groups
    ]


def read_groups(value: Sequence[Mapping[str, Any]]) -> tuple[Group, ...]:
    """The groups that `groups_json` wrote; raises ValueError, TypeError or KeyError for what it did not write."""
    return tuple(map(_read_group, value))


def _read_group(value: Mapping[str, Any]) -> Group:
    packed = base64.b64decode(value["counted"], validate=True)
    if not packed or len(packed) % _DIGEST:
        raise ValueError(f"{len(packed)} bytes of counted matches, expected a multiple of {_DIGEST}")
    return Group(
        alert_id=value["alert"],
        created=from_nanoseconds(value["created"]),
        start=value["start"],
        end=value["end"],
        counted=frozenset(packed[place : place + _DIGEST] for place in range(0, len(packed), _DIGEST)),
        touched=from_nanoseconds(value["touched"]),
        is_written=value["written"],
    )
