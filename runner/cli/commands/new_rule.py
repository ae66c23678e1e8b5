"""`rule-runner new`: write a rule with its test, to begin with."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any

from runner.cli.console import say
from runner.cli.exit_codes import ExitCode
from runner.clock import SystemClock
from runner.errors import SettingsError
from runner.json_text import BrokenLine, read_document
from runner.messages.suggestions import did_you_mean
from runner.rule_tests.case import SUFFIX
from runner.rule_tests.new_rule import TYPES, UnusableEventError, new_rule
from runner.settings.settings import Settings

_LARGEST = 1 << 24


def new(settings: Settings, name: str, kind: str, *, event: Path | None, folder: Path | None) -> ExitCode:
    """Write the files of a new rule and name them; nothing that is there is written over."""
    found = next((one for one in TYPES if one == kind), None)
    if found is None:
        raise SettingsError(f"--type is `{kind}`, expected one of {', '.join(TYPES)}{did_you_mean(kind, TYPES)}")
    stem = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
    if not stem:
        raise SettingsError(f"`{name}` has no letter or digit that a file could be named by")
    into = folder or (Path("rules") if settings.is_default("rules") else settings.rules[0])
    if into.is_file():
        raise SettingsError(f"{into}: is a file, expected a folder for the rule; name one with --folder")
    given = None if event is None else _event(event)
    try:
        made = new_rule(name, found, rule_id=str(uuid.uuid4()), today=SystemClock().now().date(), event=given)
    except UnusableEventError as error:
        raise SettingsError(f"--from-event {event}: {error}") from None
    texts = {into / f"{stem}.toml": made.rule, into / f"{stem}{SUFFIX}": made.tests}
    written = {path: text for path, text in texts.items() if text}
    if there := [path for path in written if os.path.lexists(path)]:
        raise SettingsError(f"{there[0]}: is there already, and is not written over; give the rule another name")
    _write(written)
    for path in written:
        say(f"wrote {path}")
    if not made.tests:
        say("rules in ES|QL run in a cluster only, which evaluates the query: there is no test of events for them")
    say(f"edit it, then: rule-runner check --strict {into} && rule-runner test {into}")
    return ExitCode.FINE


def _write(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise SettingsError(f"{path}: cannot be written: {error.strerror}") from None


def _event(path: Path) -> dict[str, Any]:
    """The first event of a file: one JSON object, or the first line of several. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST)
    except OSError as error:
        raise SettingsError(f"--from-event {path}: cannot be read: {error.strerror}") from None
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    for part in (text, text.split(b"\n", 1)[0]):
        try:
            return dict(read_document(part))
        except BrokenLine as error:
            said = str(error)
    raise SettingsError(f"--from-event {path}: expected an event as a JSON object: {said}")
