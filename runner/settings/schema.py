"""`settings_schema`: the JSON schema of a config file, for editors and for checks before a release."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from runner.settings.config_file import kind_of
from runner.settings.settings import SECRETS, Settings, load_settings, variables_for

SCHEMA_FILE = Path(__file__).with_name("rule-runner.schema.json")
_DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that taplo and the editors that use it know."""


def settings_schema(descriptions: Mapping[str, str]) -> dict[str, Any]:
    """The schema of the keys of a config file; `descriptions` are by the setting's variable."""
    defaults = load_settings({}, environ={})
    properties: dict[str, Any] = {}
    for name in Settings.model_fields:
        variable = variables_for(name)[0]
        described = {"description": descriptions[variable]} if variable in descriptions else {}
        properties[name] = _type_of(name) | _default(getattr(defaults, name), name) | described
        if name in SECRETS:
            properties[f"{name}_file"] = {"type": "string", "description": f"The file that holds {name}."}
    return {
        "$schema": _DRAFT,
        "title": "rule-runner.toml",
        "description": "Settings of rule-runner. Flags, the environment and .env go before this file.",
        "type": "object",
        "additionalProperties": False,
        "properties": dict(sorted(properties.items())),
    }


def _type_of(name: str) -> dict[str, Any]:
    field = Settings.model_fields[name]
    if (choices := _choices(field.annotation)) and name != "now":
        return {"type": "string", "enum": choices}
    match kind_of(field):
        case "list":
            return {"type": ["array", "string"], "items": {"type": "string"}}
        case "switch":
            return {"type": "boolean"}
        case "number":
            return {"type": "integer"}
    return {"type": "string"}


def _choices(annotation: Any) -> list[str]:
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def _default(value: object, name: str) -> dict[str, Any]:
    if name == "rules":
        return {}  # a path of this machine
    if isinstance(value, timedelta):
        return {"default": written(value)}
    if isinstance(value, (bool, int)) or (isinstance(value, str) and value):
        return {"default": value}
    return {"default": str(value)} if isinstance(value, Path) else {}


def written(length: timedelta) -> str:
    """A length of time as settings are written, in the largest unit that has no rest.

    >>> written(timedelta(minutes=90)), written(timedelta(days=7)), written(timedelta(seconds=30))
    ('90m', '7d', '30s')
    """
    seconds = round(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
