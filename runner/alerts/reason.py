"""The one-sentence summary of an alert, in the words of Kibana's alert table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.alerts.event_fields import texts_at


def build_reason(document: Mapping[str, Any], *, severity: str, name: str) -> str:
    """`kibana.alert.reason` for the fields of an event, or for those that the events of a sequence share.

    Arrays are joined with commas; an empty value or a lone "-" counts as none. Ports are printed also where they are
    plain numbers, as users know it from Kibana up to 9.1; later versions read numbers as absent and leave ports out.
    """
    names = {"process": "process.name", "parent process": "process.parent.name", "file": "file.name"}
    what = [f" {label} {value}," for label, path in names.items() if (value := _text(document, path))]
    details = "".join((*what, _endpoint(document, "source"), _endpoint(document, "destination")))
    category, user, host = (_text(document, path) for path in ("event.category", "user.name", "host.name"))
    return "".join(
        (
            f"{category} event" if category else "event",
            f" with{details}" if details else "",
            f" by {user}" if user else "",
            f" on {host}" if host else "",
            f" created {severity} alert {name}.",
        )
    )


def _endpoint(document: Mapping[str, Any], side: str) -> str:
    """Address and port of one side; the comma belongs to the port, as in Kibana."""
    address, port = _text(document, f"{side}.ip"), _text(document, f"{side}.port")
    if not address:
        return ""
    return f" {side} {address}:{port}," if port else f" {side} {address}"


def _text(document: Mapping[str, Any], path: str) -> str:
    text = ", ".join(text for text in texts_at(document, path) if text)
    return "" if text == "-" else text
