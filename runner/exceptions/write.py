"""New exceptions as text in the runner's own form, added to a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from runner.errors import AccessError, RunnerError
from runner.exceptions.load import load_exceptions

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class NewException:
    """An exception that is to be written: all fields of `when` must have one of the values."""

    name: str
    reason: str
    when: Mapping[str, Sequence[Value]]
    rules: tuple[str, ...] = ()
    """Rule ids; for all rules without any."""
    expires: date | None = None
    owner: str = ""
    scope: str = "event"

    def text(self) -> str:
        """The `[[exception]]` table. Raises RunnerError for a value that TOML cannot hold."""
        lines = ["[[exception]]", f"name = {_text(self.name)}", f"reason = {_text(self.reason)}"]
        lines += [f"owner = {_text(self.owner)}"] if self.owner else []
        lines.append("expires = " + (_text("never") if self.expires is None else self.expires.isoformat()))
        listed = ", ".join(map(_text, self.rules))
        lines.append(f"rules = [{listed}]" if self.rules else "all_rules = true")
        lines += [f"scope = {_text(self.scope)}"] if self.scope != "event" else []
        lines.append("[exception.when]")
        for field, values in self.when.items():
            given = ", ".join(map(_value, values))
            lines.append(f"{_text(field)} = {given}" if len(values) == 1 else f"{_text(field)} = [{given}]")
        return "\n".join(lines) + "\n"


def add_exception(path: Path, new: NewException) -> None:
    """Add an exception to a file, which is made if it is not there; the file is replaced at once.

    Raises RunnerError if the file cannot be read as exceptions afterwards, and AccessError if it cannot be written;
    then it stays as it was.
    """
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = before + ("" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n")
        _replace(path, text + new.text())
    except UnicodeDecodeError as error:
        raise AccessError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise AccessError(f"{path} cannot be written: {error.strerror or error}") from None


def _replace(path: Path, text: str) -> None:
    """Write beside the file and rename, if the new text is sound."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".toml")
    made = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        errors = [one for one in load_exceptions([made]).problems if one.severity == "error"]
        if errors:
            place = f":{errors[0].line}:{errors[0].column}" if errors[0].line else ""
            raise RunnerError(f"{path}{place}: nothing was written, since {errors[0].text}")
        made.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        made.replace(path)
    finally:
        with suppress(FileNotFoundError):
            made.unlink()


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A basic string of TOML: JSON's escapes are all among its own. What is not printable stands escaped."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RunnerError(f"{value!r} has half of a character (a lone surrogate), which TOML cannot hold") from None
    spelled = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in spelled)
