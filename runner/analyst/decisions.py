"""Which alerts a decision is about, who decides, and what became of it."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from runner.analyst.alert_lookup import only
from runner.errors import SettingsError
from runner.messages.suggestions import did_you_mean
from runner.settings.settings import Settings
from runner.store.changes import UpdateResult
from runner.store.protocol import AlertFilter, AlertStore, StoredAlert
from runner.store.verdicts import REASONS, Author, WorkflowStatus

DONE: Final[Mapping[WorkflowStatus, str]] = {
    "open": "opened again",
    "acknowledged": "acknowledged",
    "closed": "closed",
}
"""What was done to alerts that have a status now."""
_KEPT: Final = frozenset({
    "@timestamp", "host", "host.id", "host.name", "kibana", "kibana.alert.original_time", "kibana.alert.reason",
    "kibana.alert.risk_score", "kibana.alert.rule.name", "kibana.alert.rule.rule_id", "kibana.alert.severity", "user",
    "user.name",
})  # fmt: skip
_KEPT_BELOW: Final = ("kibana.alert.group.", "kibana.alert.suppression.", "kibana.alert.workflow_")


def reason_named(text: str) -> str:
    """Kibana's name of a reason such as `false-positive`. Raises SettingsError."""
    found = REASONS.get(text.strip().lower().replace("_", "-"))
    if found is None:
        near = did_you_mean(text, REASONS)
        raise SettingsError(f"{text}: expected {', '.join(REASONS)}{near}")
    return found


def author(settings: Settings, name: str | None = None) -> Author:
    """Who decides: the name given, else RUNNER_ANALYST, else the login name of the process; and the machine's time."""
    name = name or settings.analyst
    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):  # a container's user has no name
            name = "unknown"
    return Author(name, datetime.now(UTC))


async def found_alerts(store: AlertStore, wanted: AlertFilter) -> list[StoredAlert]:
    """The alerts that meet the filter; the building blocks of sequences go with these anyway."""
    return [_light(alert) async for alert in store.find(wanted)]


def _light(alert: StoredAlert) -> StoredAlert:
    """The alert with what a verdict and a line of a table need of its document, since a filter may find very many."""
    kept = {name: value for name, value in alert.document.items() if name in _KEPT or name.startswith(_KEPT_BELOW)}
    return replace(alert, document=kept)


async def named_alerts(store: AlertStore, ids: Sequence[str]) -> list[StoredAlert]:
    """The alerts with these ids; the event of a sequence stands for the sequence."""
    found: dict[str, StoredAlert] = {}
    for id_ in ids:
        alert = await only(store, id_)
        found[alert.id] = alert
    return list(found.values())


def problems_of(result: UpdateResult) -> dict[str, str]:
    """Why alerts were not changed, by their ids."""
    return {
        **result.rejected,
        **dict.fromkeys(result.conflicts, "others kept changing it"),
        **dict.fromkeys(result.missing, "it was removed meanwhile"),
    }
