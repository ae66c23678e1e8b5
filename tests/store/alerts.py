"""Alerts, runs and readers for the tests of the stores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from runner.alerts.alert import Alert
from runner.rule_run import RuleRun
from runner.store.protocol import AlertFilter, AlertStore, FileRecord, Ledger, Ledgers, RunLog, StoredAlert
from runner.windows import Window, iso

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
Kind = Literal["event", "shell", "building_block"]


class Store(AlertStore, Ledger, RunLog, FileRecord, Ledgers, Protocol):
    """A backend under test: all stores in one."""

    async def close(self) -> None: ...


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def alert_id(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


@dataclass(frozen=True)
class Made:
    """Alerts of one rule; the fields given are laid over a plain document."""

    rule_id: str = "rule-1"
    minute: float = 0

    def alert(self, name: object, kind: Kind = "event", **fields: Any) -> Alert:
        id_ = alert_id(name)
        document = {
            "@timestamp": iso(at(self.minute)),
            "host": {"name": "web-01", "id": "h1"},
            "kibana.alert.uuid": id_,
            "kibana.alert.severity": "high",
            "kibana.alert.rule.rule_id": self.rule_id,
            **fields,
        }
        return Alert(id_, self.rule_id, kind, document)

    def group(self, name: str, size: int = 2) -> list[Alert]:
        """The building blocks of a group and then its shell."""
        group = alert_id(name)
        blocks = [
            self.alert(
                f"{name}/{position}",
                "building_block",
                **{"kibana.alert.group.id": group, "kibana.alert.group.index": position},
            )
            for position in range(size)
        ]
        return [*blocks, self.alert(name, "shell", **{"kibana.alert.group.id": group})]


def run(rule_id: str = "rule-1", first: float = 0, last: float = 9, **changes: Any) -> RuleRun:
    """A run over the window between two minutes."""
    values: Mapping[str, Any] = {
        "rule_id": rule_id,
        "name": "Rule",
        "execution_id": f"run-{first}",
        "status": "succeeded",
        "window": Window(at(first), at(last)),
        "started": at(last),
        **changes,
    }
    return RuleRun(**values)


async def found(store: AlertStore, **wanted: Any) -> list[StoredAlert]:
    return [alert async for alert in store.find(AlertFilter(**wanted))]


async def found_ids(store: AlertStore, **wanted: Any) -> list[str]:
    return [alert.id for alert in await found(store, **wanted)]
