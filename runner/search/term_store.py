"""`TermStore`: where the tables of new-terms rules are kept between runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class TermRecord:
    """The table of one rule over one source of events, as bytes."""

    key: str
    rule_id: str
    definition: str
    """A digest of all that decides which terms the rule sees: with another one the table says nothing."""
    table: bytes
    version: Any = None
    """What the store calls this state of the record; None: it is not stored yet."""


class TermStore(Protocol):
    """The record of each key."""

    async def read_terms(self, keys: Collection[str]) -> Mapping[str, TermRecord]:
        """What is stored of these keys, as it was last written. Raises StoreError."""
        ...

    async def replace_terms(self, records: Sequence[TermRecord]) -> Mapping[str, TermRecord | None]:
        """Store each record in the place of the one that was read, and of no other.

        By key the record with its new version, or None where another writer was faster: then nothing was written.
        Raises StoreError.
        """
        ...


class MemoryTerms:
    """Records in memory. Implements `TermStore`."""

    def __init__(self) -> None:
        self._records: dict[str, TermRecord] = {}

    async def read_terms(self, keys: Collection[str]) -> Mapping[str, TermRecord]:
        return {key: self._records[key] for key in keys if key in self._records}

    async def replace_terms(self, records: Sequence[TermRecord]) -> Mapping[str, TermRecord | None]:
        outcome: dict[str, TermRecord | None] = {}
        for record in records:
            before = self._records.get(record.key)
            outcome[record.key] = None
            if (before.version if before is not None else None) == record.version:
                outcome[record.key] = self._records[record.key] = replace(record, version=(record.version or 0) + 1)
        return outcome
