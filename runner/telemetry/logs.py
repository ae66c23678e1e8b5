"""Logs: one ECS JSON object a line, or readable text on a terminal; never with a secret in it.

Every module logs through `structlog.get_logger(__name__)` with keyword fields. Names with a dot are taken as ECS fields
as they are (`**{"rule.id": ...}`), the names in `ECS_FIELDS` are put in their ECS place, any other goes under `labels`
(text) or `numeric_labels`.
ECS reference: https://www.elastic.co/docs/reference/ecs and .../reference/ecs/logging.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from runner import __version__
from runner.messages.printable import escaped_json, printable
from runner.rule_run import RuleRun
from runner.settings.settings import Settings
from runner.windows import iso

ECS_VERSION = "8.17.0"
ECS_FIELDS: Mapping[str, str] = {
    "action": "event.action",
    "duration_ns": "event.duration",
    "error": "error.message",
    "execution_id": "event.id",
    "file": "file.path",
    "outcome": "event.outcome",
    "reason": "event.reason",
    "rule_id": "rule.id",
    "rule_name": "rule.name",
    "url": "url.full",
}
"""Keyword names used in log calls, and the ECS field that each is written as."""

_HANDLER = "rule-runner"
_MASK = "[redacted]"
_SECRET_NAME = re.compile(
    r"(?i)(^|[._-])(passw(or)?d|passphrase|secret|token|api_?key|authorization|credentials?|cookie)s?$"
)
_SECRET_TEXT = (
    # user:password@ in a URL; the user stays, so that one sees whose it was.
    (re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)"), rf"\1:{_MASK}"),
    # The value of an Authorization header, in a message or a dumped dict.
    (re.compile(r"(?i)\b(basic|bearer|apikey)\s+[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {_MASK}"),
    # password=..., "api_key": "...", in a query string, a command line or JSON.
    (
        re.compile(
            r"""(?i)((?:passw(?:or)?d|secret|(?:bearer|access|auth)_?token|api_?key)(?:=|["']\s*:\s*)["']?)[^\s"',&;)}]+"""
        ),
        rf"\1{_MASK}",
    ),
)
_NOT_IN_TEXT = re.compile(r"event\.(?!reason)\w+|rule\.name|logger|runner\..+")
"""Fields left out of text: they repeat the message, or are for machines."""

_Style = Literal["json", "text", "color"]


class Redactor:
    """A structlog processor that masks secrets.

    That is fields by their name, the known values wherever they stand, and what looks like a credential.
    """

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        # The longest first, so that a secret that is part of another leaves no rest. One of up to 3 characters would
        # blank whole logs.
        values = sorted({form for secret in secrets for form in _forms(secret) if len(form) > 3}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, values))) if values else None

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {name: self._masked(name, value) for name, value in event.items()}

    def text(self, text: str) -> str:
        """`text` with every secret in it masked."""
        if self._known is not None:
            text = self._known.sub(_MASK, text)
        for pattern, mask in _SECRET_TEXT:
            text = pattern.sub(mask, text)
        return text

    def _masked(self, name: str, value: Any) -> Any:
        if value is not None and _SECRET_NAME.search(name):
            return _MASK
        return self._cleaned(value)

    def _cleaned(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case bool() | int() | float() | None:
                return value
            case Mapping():
                return {key: self._masked(str(key), item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._cleaned(item) for item in value]
        return self.text(str(value))


def configure_logging(settings: Settings, *, stream: TextIO, color: bool = True, secrets: tuple[str, ...] = ()) -> None:
    """Send structlog's and the standard library's logs to `stream`, as the settings ask for.

    Our own loggers (`runner.*`) speak from `log_level`, libraries from WARNING at least; Python's own warnings are
    logged, too. `auto` is text on a terminal and JSON elsewhere; `color` is for text on a terminal only. Called again,
    it replaces what it set before. `secrets` are masked beside those of the settings.
    """
    on_terminal = stream.isatty()
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and on_terminal)
    style: _Style = "json" if not as_text else "color" if color and on_terminal else "text"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    handler = logging.StreamHandler(stream)
    handler.set_name(_HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(Redactor((*settings.secrets(), *secrets)), style),
            ],
        )
    )
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if each.get_name() == _HANDLER]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("runner").setLevel(level)
    # There, every failed attempt of a request is a warning; the runner logs the outcome of the request once.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def log_run(run: RuleRun) -> None:
    """Write the one line of a run: what was searched, how it ended, the counts; its level follows the outcome.

    What ECS has no field for has the names of the run log in Elasticsearch. docs/metrics.md lists the fields.
    """
    logger = structlog.get_logger("runner.run")
    level = {"succeeded": logging.INFO, "warning": logging.WARNING, "failed": logging.ERROR}[run.status]
    fields: dict[str, Any] = {
        "event.kind": "event",
        "event.category": ["intrusion_detection"],
        "event.type": ["info"],
        "event.provider": "rule-runner",
        "event.dataset": "rule-runner.run",
        "event.action": "rule-run",
        # ECS knows success, failure and unknown; a run with a warning was carried out.
        "event.outcome": "failure" if run.status == "failed" else "success",
        "event.id": run.execution_id,
        "event.start": iso(run.started),
        "event.end": iso(run.started + timedelta(milliseconds=run.took_ms)),
        "event.duration": run.took_ms * 1_000_000,
        "rule.id": run.rule_id,
        "rule.name": run.name,
        "runner.status": run.status,
        "runner.window.from": iso(run.window.start),
        "runner.window.to": iso(run.window.end),
        "runner.complete": run.complete,
        **{f"runner.{name}": count for name, count in run.counts.items()},
    }
    if run.messages:
        fields["error.message" if run.status == "failed" else "event.reason"] = "; ".join(run.messages)
    logger.log(level, f"{run.name}: {_summary(run)}", **fields)


def _summary(run: RuleRun) -> str:
    """What an operator reads first: created alerts, and whatever else is not zero."""
    counts = (("known already", run.duplicates), ("suppressed", run.suppressed), ("over max_signals", run.capped))
    parts = [f"{run.created} created", *(f"{count} {what}" for what, count in counts if count)]
    return f"{run.status}, {', '.join(parts)}, window {run.window}{'' if run.complete else ', not searched to the end'}"


def _rendering(redactor: Redactor, style: _Style) -> list[Processor]:
    """The last steps of a line: the traceback as text, secrets masked, then JSON in ECS names or plain text."""
    if style == "json":
        return [_exception_fields, redactor, _as_ecs, structlog.processors.JSONRenderer(_dumps)]
    return [
        structlog.processors.format_exc_info,
        redactor,
        _as_text,
        structlog.dev.ConsoleRenderer(
            colors=style == "color",
            pad_event_to=0,
            timestamp_key="@timestamp",
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _exception_fields(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The exception of the line, if it has one, as `error.*`."""
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()[1]
    elif isinstance(raised, tuple):
        raised = raised[1]
    if isinstance(raised, BaseException):
        event["error.type"] = type(raised).__name__
        event.setdefault("error.message", str(raised))
        event["error.stack_trace"] = "".join(traceback.format_exception(raised))
    return event


def _as_ecs(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The line in ECS names; the order of the first three is that of ECS logging."""
    line: dict[str, Any] = {
        "@timestamp": event.pop("@timestamp", None),
        "log.level": event.pop("level", method),
        "message": event.pop("event", ""),
        "ecs.version": ECS_VERSION,
        "service.name": "rule-runner",
        "service.type": "rule-runner",
        "service.version": __version__,
        "log.logger": event.pop("logger", None),
    }
    labels: dict[str, Any] = {}
    numbers: dict[str, int | float] = {}
    for name, value in event.items():
        if value is None:
            continue
        if "." in name or name in ECS_FIELDS:
            line[ECS_FIELDS.get(name, name)] = value
        elif isinstance(value, bool):
            labels[name] = str(value).lower()
        elif isinstance(value, (int, float)):
            numbers[name] = value
        else:
            labels[name] = value if isinstance(value, str) else _dumps(value)
    if labels:
        line["labels"] = labels
    if numbers:
        line["numeric_labels"] = numbers
    return line


def _as_text(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The line for a reader: the time of day, and no fields that repeat the message."""
    line = {name: value for name, value in event.items() if value is not None and not _NOT_IN_TEXT.fullmatch(name)}
    line = {name: _on_one_line(value) if isinstance(value, str) else value for name, value in line.items()}
    line["@timestamp"] = str(event.get("@timestamp", ""))[11:19]
    return line


def _on_one_line(text: str) -> str:
    """The text with control characters escaped; lines after the first are indented, so that none can be forged."""
    return "\n    ".join(map(printable, text.split("\n")))


def _dumps(value: Any, **_: Any) -> str:
    return escaped_json(json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":")))


def _forms(secret: str) -> Iterator[str]:
    """The secret as it may stand in a log: as it is, in JSON, and the key alone of an encoded API key (`id:key`)."""
    yield secret
    yield json.dumps(secret)[1:-1]
    try:
        yield base64.b64decode(secret, validate=True).decode().partition(":")[2]
    except ValueError:
        return
