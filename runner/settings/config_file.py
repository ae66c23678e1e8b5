"""`read_config`: the settings of a TOML file, by the names that they have everywhere.

A setting `on_cap` is the key `on_cap`; lists are arrays, durations strings. A secret's key may end in `_file` and name
the file that holds it. What is no setting, and a value of another type, is a problem with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from runner.messages.suggestions import near_name
from runner.messages.text_positions import Source
from runner.rules.discovery import CONFIG_FILE, reason
from runner.rules.toml_file import decoded, parsed_toml, places_in, read_bytes

CONFIG_VARIABLE: Final = "RUNNER_CONFIG"
"""The environment variable that names the file; it is no setting of its own."""

Kind = Literal["list", "switch", "number", "text"]
_EXPECTED: Final = {
    "list": "a string or an array of strings",
    "switch": "true or false, without quotes",
    "number": "a whole number, without quotes",
    "text": "a string, in quotes",
}
_NO_PATHS: Final = ("-", "off")


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """The value of a key, and the key with its place."""

    value: object
    place: str


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The values by variable, as if they stood in the environment, and the problems, a sentence each."""

    values: Mapping[str, ConfigValue]
    problems: tuple[str, ...] = ()


def kind_of(field: FieldInfo) -> Kind:
    """How the value of a setting is written in TOML."""
    outer = field.annotation
    types = {get_origin(one) or one for one in (get_args(outer) or (outer,))} | {get_origin(outer) or outer}
    if tuple in types or getattr(outer, "__name__", "") == "RuleSelection":
        return "list"
    if bool in types:
        return "switch"
    return "number" if int in types else "text"


def read_config(
    path: Path,
    fields: Mapping[str, FieldInfo],
    *,
    variable: Callable[[str], str],
    secrets: Iterable[str],
    paths: Iterable[str],
) -> ConfigFile:
    """The settings that the file holds; `fields` are those that there are, `variable` names each one's variable.

    Relative paths count from the file's folder. `secrets` and `paths` are the names of such settings.
    """
    try:
        data, _ = read_bytes(path)
    except (OSError, ValueError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        return ConfigFile({}, (f"{path}: cannot be read: {said}",))
    text, problem = decoded(path, data, expected="settings") if data.strip() else ("", None)
    table, problem = ({}, problem) if problem else parsed_toml(path, text, expected="settings")
    if problem is not None:
        place = f"{path}, line {problem.line}" if problem.line else str(path)
        return ConfigFile({}, (f"{place}: {problem.message}",))
    reading = _Reading(path, Source(text), fields, frozenset(secrets), frozenset(paths))
    places = places_in(text)
    values: dict[str, ConfigValue] = {}
    problems: list[str] = []
    for key, value in table.items():
        at = places.get((key,))
        where = f"{key} ({path}, line {reading.source.place(at.key)[0]})" if at else f"{key} ({path})"
        name = reading.setting(key)
        if name is None:
            problems.append(f"{where}: {reading.unknown(key, value)}")
        elif (usable := reading.usable(key, name, value)) is None:
            problems.append(f"{where}: found {_shown(value)}, expected {_EXPECTED[reading.kind(key, name)]}")
        else:
            suffix = "_FILE" if key != name else ""
            values[f"{variable(name)}{suffix}"] = ConfigValue(usable, where)
    return ConfigFile(values, tuple(problems))


@dataclass(frozen=True, slots=True)
class _Reading:
    path: Path
    source: Source
    fields: Mapping[str, FieldInfo]
    secrets: frozenset[str]
    paths: frozenset[str]

    def setting(self, key: str) -> str | None:
        """The setting of a key, which for `<secret>_file` is the secret; None if there is none."""
        if key in self.fields:
            return key
        secret = key.removesuffix("_file")
        return secret if secret != key and secret in self.secrets else None

    def kind(self, key: str, name: str) -> Kind:
        return kind_of(self.fields[name]) if key == name else "text"

    def usable(self, key: str, name: str, value: Any) -> object | None:
        """The value as the checks of settings take it; None if it is of another type."""
        kind = self.kind(key, name)
        if kind == "switch" or kind == "number":
            return value if type(value) is (bool if kind == "switch" else int) else None
        if kind == "list":
            items = [value] if isinstance(value, str) else value
            if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
                return None
            return [self._placed(item) for item in items] if name in self.paths else items
        if isinstance(value, (date, datetime)) and name == "now":
            return value.isoformat()
        if not isinstance(value, str):
            return None
        return self._placed(value) if name in self.paths or key != name else value

    def _placed(self, item: str) -> str:
        """A relative path as one from the folder of the file."""
        folder = self.path.parent
        if not item or item in _NO_PATHS or item.startswith("~") or folder == Path():
            return item
        return str(folder / item)

    def unknown(self, key: str, value: object) -> str:
        """What is said of a key that is no setting."""
        folded = key.lower().replace("-", "_")
        plain = folded.removeprefix("runner_")
        known = [*self.fields, *(f"{name}_file" for name in self.secrets)]
        if isinstance(value, dict) and (below := [name for name in known if name.startswith(f"{plain}_")]):
            named = next((f"{plain}_{inner}" for inner in value if f"{plain}_{inner}" in below), below[0])
            return f"settings stand in no table: write `{named} = ...` above all tables"
        near = plain if plain in known else near_name(plain, known)
        return "no such setting" + (f"; did you mean `{near}`?" if near else "")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    names: dict[type, str] = {str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")


def config_path(named: str | None, variables: Iterable[str], folder: Path | None) -> Path | None:
    """The file to read: the one named by a flag, else by the first variable that is set, else `rule-runner.toml` in
    the folder if it is there. None if there is none, or if the variable is set and empty."""
    for text in (named, *variables):
        if text is not None:
            return Path(text).expanduser() if text.strip() else None
    default = None if folder is None else folder / CONFIG_FILE
    return default if default is not None and default.exists() else None
