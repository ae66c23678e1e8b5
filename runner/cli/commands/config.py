"""`rule-runner config`: the settings in force with where each comes from, and the schema of config files."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr

from runner.cli.console import print_json, print_table, printable, table
from runner.cli.exit_codes import ExitCode
from runner.settings.schema import SCHEMA_FILE, written
from runner.settings.settings import Settings, flag_for, shown, variables_for
from runner.windows import iso

_MASK = "********"


def show(settings: Settings) -> ExitCode:
    """Print every setting: those that somebody set first, then the defaults."""
    names = sorted(type(settings).model_fields, key=settings.is_default)
    if settings.output == "json":
        print_json({"settings": {name: _as_json(settings, name) for name in names}})
        return ExitCode.FINE
    rows = table("setting", "value", "from", wrapped=("value", "from"))
    for name in names:
        value = _plain(getattr(settings, name))
        text = written(value) if isinstance(value, timedelta) else shown(value)
        rows.add_row(name, printable(text.strip('"')), printable(settings.place_of(name)))
    print_table(rows)
    return ExitCode.FINE


def schema() -> ExitCode:
    """Print the schema as it was made for this version."""
    sys.stdout.write(SCHEMA_FILE.read_text(encoding="utf-8"))
    return ExitCode.FINE


def _as_json(settings: Settings, name: str) -> dict[str, Any]:
    place = settings.place_of(name)
    return {
        "value": _json_value(getattr(settings, name)),
        "from": _layer(place, name),
        "place": place,
        "variable": variables_for(name)[0],
    }


def _layer(place: str, name: str) -> str:
    """The layer of a place: flag, environment, env_file, config_file or default."""
    if place in ("default", flag_for(name)):
        return "default" if place == "default" else "flag"
    if place.partition(" ->")[0].endswith("(environment)"):
        return "environment"
    return "env_file" if place[0].isupper() else "config_file"


def _plain(value: Any) -> Any:
    return SecretStr("") if isinstance(value, SecretStr) else value


def _json_value(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case SecretStr():
            return _MASK
        case timedelta():
            return written(value)
        case datetime():
            return iso(value)
        case list() | tuple():
            return [str(item) for item in value]
    return "" if (text := str(value)) == "(not set)" else text
