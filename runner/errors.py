"""Every exception that leaves a module of the runner, and `Problem`, a finding in a file of the user's.

Exceptions carry fields, not only text: the command line turns the class into an exit code and the fields into JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about a file: where it is, what is wrong, how bad.

    `line` and `column` count from 1; 0 is "the whole file".
    """

    file: Path
    line: int
    column: int
    severity: Severity
    message: str
    rule_id: str | None = None
    """The rule's signature id where the file has one."""
    picture: str = ""
    """The offending line with carets under the place, ready to print; empty where there is no such line."""
    hint: object = ""
    """What to put after the message, as `str` gives it: near names, which are looked for only then."""
    code: str = ""
    """The kind of the finding, which does not change between versions; see `messages/finding_codes.py`."""

    @property
    def text(self) -> str:
        """The message with its hint."""
        return f"{self.message}{self.hint}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class RunnerError(Exception):
    """The parent of all errors that the runner raises on purpose; `str()` is fit to show to a user."""


class WrongTypeError(ValueError):
    """An operation of a query cannot work on a value of this type, whatever the value is."""


class SettingsError(RunnerError):
    """The settings or the arguments cannot be used (exit code 3)."""


class UnreachableError(RunnerError):
    """The cluster could not be reached, after the retries (exit code 4)."""

    def __init__(self, message: str, *, hosts: tuple[str, ...] = (), retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.hosts = hosts
        self.retry_after = retry_after  # seconds of the answer's `Retry-After`; 0 without one


class WrongAnswerError(UnreachableError):
    """What answers under the address of the cluster does not answer as Elasticsearch does (exit code 4)."""


class ClusterError(RunnerError):
    """The cluster answered a request with an error, after the retries: HTTP `status`, its `type` and its `reason`."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str = "",  # noqa: A002
        reason: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.reason = reason
        self.retry_after = retry_after  # seconds of the answer's `Retry-After`; 0 without one

    @property
    def no_such_api(self) -> bool:
        """True if the cluster has no such API at all: a plugin that is not there, or another product."""
        return "no handler found for uri" in self.reason or self.type == "api_not_available_exception"


class AccessError(RunnerError):
    """The cluster or the file system refused access: a missing privilege or a bad credential."""


class EventsError(RunnerError):
    """The named events cannot be read: no such file, no permission, not a supported format."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class UnreadableEventError(EventsError):
    """One event was searched, but its document cannot be read: it can become no alert, now or later."""


class StoppedError(RunnerError):
    """Reading was stopped before its end: by a signal, or by the time limit of a search. What was not read is owed."""


class SearchError(RunnerError):
    """One search failed or was only partly answered; its window is still owed."""

    def __init__(self, message: str, *, rule_id: str = "", retryable: bool = True) -> None:
        super().__init__(message)
        self.rule_id = rule_id
        self.retryable = retryable


class StoreError(RunnerError):
    """The alert store or the ledger could not be read or written."""
