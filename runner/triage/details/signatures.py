"""Code signatures of the files of an event, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runner.alerts.event_fields import text_at, value_at, values_at

_SIGNED: Final = ("process", "process.parent", "file", "dll", "library", "driver", "Target.process", "Persistence")


def signatures_of(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, text) of each signature that the event knows of."""
    for path in _SIGNED:
        if text := signature_at(document, path):
            yield f"{path}.code_signature", text


def signature_at(document: Mapping[str, Any], path: str) -> str:
    """The signature of the file at `path`; "" where nothing is known of one.

    >>> signature_at({"dll.code_signature": {"exists": True, "trusted": True, "subject_name": "Example Corp"}}, "dll")
    'Example Corp (trusted)'
    >>> signature_at({"dll.code_signature": {"exists": False}}, "dll")
    'not signed'
    """
    for name in (f"{path}.code_signature", f"{path}.Ext.code_signature"):
        entries = [one for one in values_at(document, name) if isinstance(one, Mapping)] or [_flat(document, name)]
        texts = dict.fromkeys(filter(None, map(_text, entries)))
        if texts:
            return "; ".join(texts)
    return ""


def _flat(document: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The parts of a signature whose names are dotted in the document."""
    names = ("exists", "trusted", "valid", "status", "subject_name", "team_id", "signing_id")
    return {name: value for name in names if (value := value_at(document, f"{path}.{name}")) is not None}


def _text(entry: Mapping[str, Any]) -> str:
    subject, status = text_at(entry, "subject_name"), text_at(entry, "status")
    exists, trusted, valid = (_truth(value_at(entry, name)) for name in ("exists", "trusted", "valid"))
    if exists is False or (not subject and status.lower() == "nosignature"):
        return "not signed"
    names = (("team", "team_id"), ("id", "signing_id"))
    more = [f"{label} {text}" for label, name in names if (text := text_at(entry, name))]
    if not subject and not more and exists is None:
        return ""
    if trusted is not None:
        judged = "trusted" if trusted else "not trusted"
    else:
        judged = "" if valid is None else "valid" if valid else "not valid"
    odd = status if status.lower() not in ("", "trusted", "valid", "no error.") else ""
    said = ", ".join(filter(None, (judged, odd, *more)))
    return f"{subject or 'signed'}{f' ({said})' if said else ''}"


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None
