"""`Alert`, one document to store, and `AlertGroup`, what one match becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert document. `id` is its `_id` and its `kibana.alert.uuid`."""

    id: str
    rule_id: str
    kind: Literal["event", "shell", "building_block"]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """What one match becomes: one event alert, or the building blocks of a sequence followed by their shell.

    The order is the order of writing: a shell comes after its blocks, so that a shell that is there has all of them.
    """

    alerts: tuple[Alert, ...]

    @property
    def head(self) -> Alert:
        """The alert that counts: the event alert or the shell."""
        return self.alerts[-1]
