"""`MessageTemplate`: the words of a message, as texts with fields in braces.

`{rule}` is one of a few names, `{process.name}` a field of the alert's document, `{user.name|nobody}` has words for a
field that is not there, `{{` and `}}` are braces. There is nothing else in it: no call, attribute or loop, so it can
neither run anything nor take long. What an event says is put in as text on one line, shortened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runner.alerts.event_fields import values_at
from runner.messages.printable import printable
from runner.messages.suggestions import did_you_mean

NAMES: Final = ("rule", "severity", "risk", "host", "user", "reason", "time", "url", "id")
"""What may stand for an alert beside the fields of its document."""
MESSAGE_NAMES: Final = ("count", "target", "rules", "hosts", "highest")
"""What may stand in the title of a message of several alerts."""
LONGEST_VALUE: Final = 300
_PART: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FIELD: Final = re.compile(r"[A-Za-z_@][\w@-]*(\.[\w@-]+)+")


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """The words of a target's messages."""

    title: str = "[{severity}] {rule} on {host|unknown host}"
    """Of a message of one alert."""
    body: str = "{reason}\n\nhost: {host}\nuser: {user}\ntime: {time}\nrisk: {risk}\n{url|}"
    digest_title: str = "{count} alerts, highest {highest}"
    """Of a message of several."""
    line: str = "{time}  {severity}  {rule}  on {host}  {url|}"
    """Of each alert in it."""


def problem_with(template: str, names: tuple[str, ...] = NAMES) -> str:
    """What is wrong with a template, "" if nothing is; `names` are those that it may use beside fields.

    >>> problem_with("{rule} on {hots}")
    'unknown name `hots`; did you mean `host`? A field of the alert is written with its dots, as process.name'
    """
    for found in _PART.finditer(template):
        if found[0] in ("{{", "}}"):
            continue
        if found[1] is None:
            return f"a single `{found[0]}`: write `{found[0] * 2}` for one that is to be shown"
        name = found[1].partition("|")[0].strip()
        if name not in names and not _FIELD.fullmatch(name):
            hint = "A field of the alert is written with its dots, as process.name"
            return f"unknown name `{name}`{did_you_mean(name, names) or ';'} {hint}"
    return ""


def names_fields(template: str) -> bool:
    """Whether the template shows fields of the alert's document.

    >>> names_fields("{rule}"), names_fields("{process.name|nothing}")
    (False, True)
    """
    return any("." in (found[1] or "").partition("|")[0] for found in _PART.finditer(template))


def filled(template: str, value: Callable[[str], str]) -> str:
    """The text with the value of each name; "-" for one that has none, unless the template has words for that.

    >>> filled("{rule} by {user.name|nobody}, {{id}}", {"rule": "Netcat"}.get)
    'Netcat by nobody, {id}'
    """

    def part(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        name, bar, default = found[1].partition("|")
        return value(name.strip()) or (default if bar else "-")

    return _PART.sub(part, template)


def on_one_line(text: str, longest: int = LONGEST_VALUE) -> str:
    """The text without line ends and control characters, shortened.

    >>> on_one_line("a" + chr(10) + "b")
    'a b'
    """
    text = " ".join(text[: 4 * longest].encode("utf-8", "replace").decode("utf-8").split())
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def document_value(document: Mapping[str, Any], name: str) -> str:
    """The value of a field of a document as text, several of them with commas; "" if it has none."""
    values = [value for value in values_at(document, name) if value is not None]
    return on_one_line(", ".join(map(str, values[:10]))) if values else ""
