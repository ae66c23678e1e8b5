"""What an analyst decides about alerts, in Kibana's workflow fields: status, reason, assignees, tags, and a note.

The building blocks of a sequence go with it. A note stands in `kibana.alert.workflow_note`, which Kibana does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from runner.alerts.event_fields import texts_at, value_at
from runner.store.changes import AlertChange, UpdateResult
from runner.store.protocol import AlertStore, StoredAlert
from runner.triage.verdict import ASSIGNEES, NOTE, REASON, STATUS, TAGS, UPDATED, USER
from runner.windows import iso

WorkflowStatus = Literal["open", "acknowledged", "closed"]
REASONS: Final[Mapping[str, str]] = {
    "false-positive": "false_positive",
    "true-positive": "true_positive",
    "duplicate": "duplicate",
    "benign": "benign_positive",
}
"""What an alert turned out to be, each with Kibana's value of `kibana.alert.workflow_reason`."""

_TRIES: Final = 5
"""How often alerts are read again whose tags others have changed at the same time."""

Decision = Callable[[StoredAlert], AlertChange]


@dataclass(frozen=True, slots=True)
class Author:
    """Who decides, and when."""

    name: str
    at: datetime


def status_decision(
    status: WorkflowStatus, author: Author, *, reason: str | None = None, note: str | None = None
) -> Decision:
    """Set the status, with one of Kibana's reasons and a note if they are given.

    Without a note the one before stays. Without a reason the one before stays while the alert is not open; an alert
    that is opened again has none. Of an alert that has all of that already nothing changes, not even who and when.
    """

    def decide(alert: StoredAlert) -> AlertChange:
        before = alert.document
        kept = None if status == "open" or value_at(before, STATUS) == "open" else value_at(before, REASON)
        wanted = {STATUS: status, REASON: reason or kept}
        if note is not None:
            wanted[NOTE] = note
        is_news = any(value_at(before, name) != value for name, value in wanted.items())
        signed = {UPDATED: iso(author.at), USER: author.name} if is_news else _now(before, UPDATED, USER)
        return AlertChange(alert.id, wanted | signed, with_blocks=True)

    return decide


def note_decision(note: str, author: Author) -> Decision:
    """Keep this note in place of the one before, "" for none; the status stays as it is."""

    def decide(alert: StoredAlert) -> AlertChange:
        before = value_at(alert.document, NOTE)
        is_news = (before or "") != note
        signed = {UPDATED: iso(author.at), USER: author.name} if is_news else _now(alert.document, UPDATED, USER)
        return AlertChange(alert.id, {NOTE: note or None} | signed, with_blocks=True)

    return decide


def assign_decision(names: Sequence[str]) -> Decision:
    """Give the alert to these in place of those who had it."""
    assignees = list(dict.fromkeys(filter(None, names)))
    return lambda alert: AlertChange(alert.id, {ASSIGNEES: assignees}, with_blocks=True)


def tag_decision(added: Sequence[str], removed: Collection[str]) -> Decision:
    """Add tags and take others away; a change by someone else in between is kept."""

    def decide(alert: StoredAlert) -> AlertChange:
        before = value_at(alert.document, TAGS)
        has = texts_at(alert.document, TAGS)
        tags = [tag for tag in dict.fromkeys((*has, *added)) if tag not in removed]
        return AlertChange(alert.id, {TAGS: tags}, expected={TAGS: before}, with_blocks=True)

    return decide


async def decide(store: AlertStore, alerts: Sequence[StoredAlert], decision: Decision) -> UpdateResult:
    """Apply a decision to alerts; those that others change at the same time are read again. Raises StoreError."""
    result = await store.update([decision(alert) for alert in alerts])
    for _ in range(_TRIES - 1):
        if not result.conflicts:
            break
        again = [found for id_ in sorted(result.conflicts) for found in await store.get(id_) if found.id == id_]
        more = await store.update([decision(alert) for alert in again])
        result = UpdateResult(
            result.changed | more.changed,
            result.unchanged | more.unchanged,
            more.conflicts,
            result.missing | more.missing | (result.conflicts - {alert.id for alert in again}),
            {**result.rejected, **more.rejected},
        )
    return result


async def close_alerts(
    store: AlertStore, ids: Collection[str], author: Author, *, reason: str, note: str | None = None
) -> UpdateResult:
    """Close the alerts with these ids for one of the `REASONS`, by its name there or by Kibana's. Raises StoreError.

    Ids are whole; those that are not there are `missing` in the result.
    """
    found = [alert for id_ in dict.fromkeys(ids) for alert in await store.get(id_) if alert.id == id_]
    decision = status_decision("closed", author, reason=REASONS.get(reason, reason), note=note)
    result = await decide(store, found, decision)
    missing = frozenset(ids) - {alert.id for alert in found}
    return UpdateResult(result.changed, result.unchanged, result.conflicts, result.missing | missing, result.rejected)


def _now(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields as they are: to set them changes nothing but blocks that were left behind."""
    return {name: value_at(document, name) for name in names}
