"""Tables of exception files: their keys read one by one, and what is wrong with each, with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from runner.errors import Problem, Severity
from runner.exceptions.item import FilePlace
from runner.messages.suggestions import did_you_mean
from runner.rules.model_errors import kind_of, shortened
from runner.rules.toml_positions import KeyPath

Part: TypeAlias = Literal["key", "value"]
Locate: TypeAlias = Callable[[KeyPath, Part], FilePlace]
"""The place in a file of what stands at a path of keys."""


class Findings:
    """The problems of one file, in the order in which they are found."""

    def __init__(self, locate: Locate) -> None:
        self.place = locate
        self.problems: list[Problem] = []

    def add(
        self,
        path: KeyPath,
        message: str,
        *,
        at: Part = "value",
        severity: Severity = "error",
        code: str = "wrong-value",
    ) -> None:
        self.problems.append(self.place(path, at).problem(severity, message, code))

    def errors(self) -> int:
        """How many problems cost an item."""
        return sum(problem.severity == "error" for problem in self.problems)


class Table:
    """One table of a file, and where it stands. What is wrong with a key is found when the key is read."""

    def __init__(self, value: Mapping[str, Any], path: KeyPath, findings: Findings, called: str) -> None:
        """`called` is what messages call it."""
        self.value, self.path, self.findings, self._called = value, path, findings, called

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def keys(self, known: Iterable[str], severity: Severity = "error") -> None:
        """Every key must be known."""
        names = tuple(known)
        for key in self.value:
            if key not in names:
                near = did_you_mean(str(key), names)
                message = f"unknown key `{shortened(str(key))}` in {self._called}{near}"
                self.findings.add((*self.path, key), message, at="key", severity=severity, code="unknown-key")

    def needed(self, key: str, why: str = "") -> None:
        if key not in self.value:
            self.findings.add(self.path, f"`{key}` is missing in {self._called}{why}", at="key", code="missing-key")

    def wrong(self, key: str, expected: str) -> None:
        """The value is of another kind than expected."""
        self.findings.add((*self.path, key), f"`{key}` is {kind_of(self.value[key])}, expected {expected}")

    def text(self, key: str, default: str = "") -> str:
        """A text that is not blank; the default where there is none, or no such."""
        value = self.value.get(key, default)
        if not isinstance(value, str):
            self.wrong(key, "a string")
            return default
        if key in self.value and not value.strip():
            self.findings.add((*self.path, key), f"`{key}` is empty")
        return value

    def choice(self, key: str, known: tuple[str, ...], default: str) -> str:
        value = self.text(key, default)
        if value in known:
            return value
        near = did_you_mean(value, known)
        message = f"`{key}` is `{shortened(value)}`, expected one of {', '.join(known)}{near}"
        self.findings.add((*self.path, key), message)
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """A text or a list of texts, not empty if the key is there."""
        value = self.value.get(key, [])
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(key, "a string or a list of strings") if not isinstance(value, list) else self.findings.add(
                (*self.path, key), f"`{key}` holds something that is no string"
            )
            return ()
        if key in self.value and (not value or not all(item.strip() for item in value)):
            self.findings.add((*self.path, key), f"`{key}` is empty or has an empty value")
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.value.get(key, False)
        if not isinstance(value, bool):
            self.wrong(key, "true or false")
            return False
        return value

    def tables(self, key: str, called: str) -> list[Table]:
        """A list of tables."""
        value = self.value.get(key, [])
        if not isinstance(value, list):
            self.wrong(key, "a list of tables")
            return []
        found = []
        for number, item in enumerate(value):
            path = (*self.path, key, number)
            if isinstance(item, Mapping):
                found.append(Table(item, path, self.findings, called))
            else:
                self.findings.add(path, f"`{key}` holds {kind_of(item)}, expected tables")
        return found

    def table(self, key: str, called: str) -> Table | None:
        value = self.value.get(key)
        if value is None or isinstance(value, Mapping):
            return None if value is None else Table(value, (*self.path, key), self.findings, called)
        self.wrong(key, "a table")
        return None
