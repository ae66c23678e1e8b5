"""`Notifications`: what a file of notification targets holds, `[[target]]` tables, and everything wrong in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from runner.errors import Problem
from runner.exceptions.exception_file import TomlLocator
from runner.exceptions.tables import Findings, Table
from runner.messages.suggestions import did_you_mean
from runner.notify.target import NotificationTarget
from runner.notify.target_table import read_target
from runner.rules.discovery import reason
from runner.rules.model_errors import shortened
from runner.rules.toml_file import decoded, parsed_toml, read_bytes

_CALLED: Final = "notification target"


@dataclass(frozen=True, slots=True)
class Notifications:
    """The targets of a file, and its problems; with an error in it the file is not to be used."""

    path: Path = Path()
    targets: tuple[NotificationTarget, ...] = ()
    problems: tuple[Problem, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What must be shown nowhere."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")


def read_notifications(path: Path, environ: Mapping[str, str]) -> Notifications:
    """What one file holds; every problem of all targets is found."""
    try:
        data, _ = read_bytes(path)
    except (OSError, ValueError) as error:
        return Notifications(path, problems=(Problem(path, 0, 0, "error", f"cannot be read: {reason(error)}"),))
    text, trouble = decoded(path, data, expected=_CALLED)
    document: Mapping[str, Any] = {}
    if trouble is None:
        document, trouble = parsed_toml(path, text, expected=_CALLED)
    if trouble is not None:
        return Notifications(path, problems=(replace(trouble, picture=""),))
    # A picture of the line could show a secret that stands in it.
    findings = Findings(_without_pictures(TomlLocator(path, text)))
    top = Table(document, (), findings, "the file")
    top.keys(("target", "link"))
    link = _link(top)
    secrets: list[str] = []
    targets = [read_target(table, path, environ, link, secrets=secrets) for table in top.tables("target", "[[target]]")]
    if not targets:
        near = did_you_mean(next(iter(document), ""), ("target",))
        findings.add((), f"no [[target]] in this file of notifications{near}")
    _check_names(top, targets, findings)
    problems = sorted(dict.fromkeys(findings.problems), key=lambda problem: (problem.line, problem.column))
    sound = tuple(target for target in targets if target is not None)
    return Notifications(path, sound, tuple(problems), tuple(filter(None, dict.fromkeys(secrets))))


def _without_pictures(locate: Any) -> Any:
    def place(path: Any, part: Any) -> Any:
        found = locate(path, part)
        return type(found)(found.file, found.line, found.column)

    return place


def _link(top: Table) -> str:
    link = top.text("link")
    if link and link != "kibana" and not link.startswith(("http://", "https://")):
        message = f'`link` is "{shortened(link)}", expected the address of the page, such as https://soc.example.org'
        top.findings.add(("link",), message + ', or "kibana"')
    return link


def _check_names(top: Table, targets: list[NotificationTarget | None], findings: Findings) -> None:
    seen: dict[str, int] = {}
    for number, target in enumerate(targets):
        if target is None or not target.name:
            continue
        if target.name in seen:
            message = f"`name` is `{shortened(target.name)}`, as that of another target: names tell them apart"
            findings.add(("target", number, "name"), message)
        seen.setdefault(target.name, number)
