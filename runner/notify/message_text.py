"""The words of a message, by the target's templates, and its JSON for a webhook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.notify.target import NotificationTarget
from runner.notify.template import document_value, filled, names_fields
from runner.store.outbox import OutboxItem, OutboxMessage
from runner.store.protocol import StoredAlert
from runner.windows import iso

_LISTED = 20
"""Alerts that a message of several shows one by one."""
_RULES = 10


@dataclass(frozen=True, slots=True)
class MessageText:
    """What a person reads."""

    title: str
    body: str


def message_text(target: NotificationTarget, message: OutboxMessage, alerts: Mapping[str, StoredAlert]) -> MessageText:
    """The title and the body of a message; of an alert whose document is gone, what was kept of it."""
    first = message.items[0]
    if message.kind == "health":
        return MessageText(f"[rule-runner] {first.summary.get('rule', '')}", first.summary.get("reason", ""))
    words = target.template
    if len(message.items) == 1:
        value = _value_of(first, alerts)
        return MessageText(filled(words.title, value), filled(words.body, value).strip())
    ranked = _ranked(message)
    rules = Counter(item.summary.get("rule", "") for item in ranked)
    of_message = {
        "count": f"{len(ranked):,}",
        "target": target.name,
        "rules": f"{len(rules):,}",
        "hosts": f"{len({item.summary.get('host', '') for item in ranked}):,}",
        "highest": ranked[0].summary.get("severity", ""),
    }
    of_first = _value_of(ranked[0], alerts)
    title = filled(words.digest_title, lambda name: of_message.get(name) or of_first(name))
    lines = [f"{count:,} x {rule}" for rule, count in rules.most_common(_RULES)]
    if len(rules) > _RULES:
        lines.append(f"and {len(rules) - _RULES:,} more rules")
    lines += ["", *(filled(words.line, _value_of(item, alerts)).rstrip() for item in ranked[:_LISTED])]
    if len(ranked) > _LISTED:
        lines.append(f"and {len(ranked) - _LISTED:,} more alerts")
    return MessageText(title, "\n".join(lines))


def shown_ids(target: NotificationTarget, message: OutboxMessage) -> list[str]:
    """The ids of the alerts whose documents the message may show."""
    if message.kind == "health":
        return []
    if target.is_stream or (target.type == "webhook" and target.documents):
        return [item.id for item in message.items]
    words = target.template
    if not any(map(names_fields, (words.title, words.body, words.digest_title, words.line))):
        return []
    return [item.id for item in _ranked(message)[:_LISTED]]


def _ranked(message: OutboxMessage) -> list[OutboxItem]:
    """The items, the most severe first, of these the earliest."""
    return sorted(message.items, key=lambda item: (-item.rank, item.summary.get("time", ""), item.id))


def message_json(
    target: NotificationTarget, message: OutboxMessage, alerts: Mapping[str, StoredAlert]
) -> dict[str, Any]:
    """The body of a webhook's request: the same at each try of a message, as long as its alerts are the same."""
    text = message_text(target, message, alerts)
    shown = [] if message.kind == "health" else [_alert_json(target, item, alerts) for item in message.items]
    return {
        "id": message.id,
        "type": message.kind,
        "target": target.name,
        "created": iso(message.created),
        "title": text.title,
        "text": text.body,
        "count": len(message.items),
        "alerts": shown,
    }


def _alert_json(target: NotificationTarget, item: OutboxItem, alerts: Mapping[str, StoredAlert]) -> dict[str, Any]:
    found = {"id": item.id, **item.summary}
    stored = alerts.get(item.id)
    if stored is not None:
        found["index"] = stored.index
    if stored is not None and target.documents:
        return {**found, "document": stored.document}
    return found


def _value_of(item: OutboxItem, alerts: Mapping[str, StoredAlert]) -> Callable[[str], str]:
    """The values of an alert by the names of a template."""
    stored = alerts.get(item.id)

    def value(name: str) -> str:
        if name == "id":
            return item.id
        if "." in name:
            return "" if stored is None else document_value(stored.document, name)
        return item.summary.get(name, "")

    return value
