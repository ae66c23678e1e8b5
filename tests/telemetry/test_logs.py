"""Logs: ECS lines, text for a terminal, the standard library routed, secrets masked, one line per run."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from runner.rule_run import RuleRun, Status
from runner.settings.settings import load_settings
from runner.telemetry.logs import Redactor, configure_logging, log_run
from runner.windows import Window
from tests.paths import ROOT

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("runner")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    logging.captureWarnings(False)
    structlog.reset_defaults()


def start(stream: StringIO, environ: dict[str, str] | None = None) -> None:
    configure_logging(load_settings({}, environ=environ or {}), stream=stream)


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def rule_run(status: Status = "succeeded", **changes: Any) -> RuleRun:
    facts: dict[str, Any] = {
        "rule_id": "r-1",
        "name": "Reverse shell",
        "execution_id": "e-1",
        "status": status,
        "window": Window(START, START + timedelta(minutes=9)),
        "started": START + timedelta(minutes=9),
        "took_ms": 1500,
    }
    return RuleRun(**facts | changes)


def test_a_line_is_ecs() -> None:
    stream = StringIO()
    start(stream)
    structlog.get_logger("runner.rules").warning(
        "rule left out",
        rule_id="r-1",
        file="a.toml",
        attempt=3,
        done=False,
        host="h",
        nothing=None,
        **{"event.kind": "x"},
    )
    (line,) = lines(stream)
    assert list(line)[:3] == ["@timestamp", "log.level", "message"]
    assert datetime.fromisoformat(line.pop("@timestamp")).tzinfo is not None
    assert line.pop("service.version")
    assert line == {
        "log.level": "warning",
        "message": "rule left out",
        "ecs.version": "8.17.0",
        "service.name": "rule-runner",
        "service.type": "rule-runner",
        "log.logger": "runner.rules",
        "rule.id": "r-1",
        "file.path": "a.toml",
        "event.kind": "x",
        "labels": {"done": "false", "host": "h"},
        "numeric_labels": {"attempt": 3},
    }


def test_an_exception_is_one_line() -> None:
    stream = StringIO()
    start(stream)
    logger = structlog.get_logger("runner.service")
    try:
        raise OSError("disk full")
    except OSError as error:
        logger.exception("tick failed")
        logger.error("again", exc_info=error)
    for line in lines(stream):
        assert (line["error.type"], line["error.message"]) == ("OSError", "disk full")
        assert line["error.stack_trace"].startswith("Traceback")


def test_log_level_is_for_our_own_loggers() -> None:
    stream = StringIO()
    start(stream, {"RUNNER_LOG_LEVEL": "debug"})
    structlog.get_logger("runner.search").debug("ours")
    logging.getLogger("elastic_transport.transport").info("theirs")
    assert [line["message"] for line in lines(stream)] == ["ours"]
    start(stream, {"RUNNER_LOG_LEVEL": "error"})
    structlog.get_logger("runner.search").warning("ours, too quiet")
    logging.getLogger("apscheduler").warning("theirs, too quiet")
    logging.getLogger("apscheduler").error("theirs")
    assert [line["message"] for line in lines(stream)] == ["ours", "theirs"]


def test_the_standard_library_is_routed() -> None:
    stream = StringIO()
    start(stream)
    logging.getLogger("some.library").warning("missed by %s", "2 s", extra={"attempt": 2})
    (line,) = lines(stream)
    assert line["message"] == "missed by 2 s"
    assert line["log.logger"] == "some.library"
    assert line["numeric_labels"] == {"attempt": 2}


def test_warnings_of_python_are_routed() -> None:
    stream = StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        start(stream)
        warnings.warn("the index is old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(stream)
    assert "the index is old" in line["message"]


def test_configured_twice_speaks_once_to_the_new_stream() -> None:
    first, second = StringIO(), StringIO()
    start(first)
    start(second)
    structlog.get_logger("runner").info("hello")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


@pytest.mark.parametrize(
    ("kind", "wanted", "is_json"),
    [
        (Terminal, "auto", False),
        (StringIO, "auto", True),
        (Terminal, "json", True),
        (StringIO, "text", False),
    ],
)
def test_format(kind: type[StringIO], wanted: str, is_json: bool) -> None:
    stream = kind()
    start(stream, {"RUNNER_LOG_FORMAT": wanted})
    structlog.get_logger("runner").info("hello", attempt=2)
    assert stream.getvalue().startswith("{") == is_json
    assert "hello" in stream.getvalue()


def test_text_is_short_and_plain_where_colors_are_not_wanted() -> None:
    stream = Terminal()
    configure_logging(load_settings({}, environ={}), stream=stream, color=False)
    log_run(rule_run(created=2, duplicates=1, matches=3))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert text[8:].rstrip() == (
        " [info     ] Reverse shell: succeeded, 2 created, 1 known already, "
        "window 2026-03-02T10:00:00.000Z to 2026-03-02T10:09:00.000Z rule.id=r-1"
    )


def test_a_run_is_one_line() -> None:
    stream = StringIO()
    start(stream)
    log_run(rule_run(matches=130, created=100, duplicates=4, capped=26, complete=False))
    (line,) = lines(stream)
    assert line["log.level"] == "info"
    assert line["message"] == (
        "Reverse shell: succeeded, 100 created, 4 known already, 26 over max_signals, "
        "window 2026-03-02T10:00:00.000Z to 2026-03-02T10:09:00.000Z, not searched to the end"
    )
    facts = {name: value for name, value in line.items() if name.startswith(("event.", "rule.", "runner."))}
    assert facts == {
        "event.kind": "event",
        "event.category": ["intrusion_detection"],
        "event.type": ["info"],
        "event.provider": "rule-runner",
        "event.dataset": "rule-runner.run",
        "event.action": "rule-run",
        "event.outcome": "success",
        "event.id": "e-1",
        "event.start": "2026-03-02T10:09:00.000Z",
        "event.end": "2026-03-02T10:09:01.500Z",
        "event.duration": 1_500_000_000,
        "rule.id": "r-1",
        "rule.name": "Reverse shell",
        "runner.status": "succeeded",
        "runner.window.from": "2026-03-02T10:00:00.000Z",
        "runner.window.to": "2026-03-02T10:09:00.000Z",
        "runner.complete": False,
        "runner.matches": 130,
        "runner.created": 100,
        "runner.duplicates": 4,
        "runner.suppressed": 0,
        "runner.capped": 26,
    }
    assert not {"labels", "numeric_labels"} & set(line)


def test_the_document_lists_every_field_of_a_run() -> None:
    stream = StringIO()
    start(stream)
    log_run(rule_run())
    log_run(rule_run("warning", messages=("m",)))
    log_run(rule_run("failed", messages=("m",)))
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`([@\w.]+)`", text.partition("## Logs")[2]))
    assert {name for line in lines(stream) for name in line} <= listed


@pytest.mark.parametrize(
    ("status", "level", "outcome", "field"),
    [("warning", "warning", "success", "event.reason"), ("failed", "error", "failure", "error.message")],
)
def test_a_run_that_was_no_success(status: Status, level: str, outcome: str, field: str) -> None:
    stream = StringIO()
    start(stream)
    log_run(rule_run(status, messages=("index a is missing", "shard 3 failed")))
    (line,) = lines(stream)
    assert (line["log.level"], line["event.outcome"]) == (level, outcome)
    assert line[field] == "index a is missing; shard 3 failed"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET https://elastic:hunter2@es:9200/_eql", "GET https://elastic:[redacted]@es:9200/_eql"),
        ("Authorization: Basic ZWxhc3RpYzpodW50ZXIy", "Authorization: Basic [redacted]"),
        ("{'authorization': 'ApiKey aHVudGVyMg=='}", "{'authorization': 'ApiKey [redacted]'}"),
        ('{"password": "hunter2", "size": 1}', '{"password": "[redacted]", "size": 1}'),
        ("?api_key=hunter2&size=1", "?api_key=[redacted]&size=1"),
        ("ELASTICSEARCH_PASSWORD: expected beside it", "ELASTICSEARCH_PASSWORD: expected beside it"),
        (
            "a basic rule, tokens: 3, see https://example.org/a@b",
            "a basic rule, tokens: 3, see https://example.org/a@b",
        ),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, masked: str) -> None:
    assert Redactor().text(text) == masked


def test_fields_are_masked_by_their_name() -> None:
    event = {"api_key": "x", "headers": [{"Authorization": "x", "Accept": "y"}], "password": None, "http.cookie": "x"}
    assert Redactor()(None, "info", event) == {
        "api_key": "[redacted]",
        "headers": [{"Authorization": "[redacted]", "Accept": "y"}],
        "password": None,
        "http.cookie": "[redacted]",
    }


@pytest.mark.parametrize("style", ["json", "text"])
@profile(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(secret=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20))
def test_a_secret_of_the_settings_is_masked_wherever_it_stands(style: str, secret: str) -> None:
    secret = f"Q9X{secret}Z7K"
    stream = StringIO()
    environ = {"ELASTICSEARCH_USERNAME": "u", "ELASTICSEARCH_PASSWORD": secret, "RUNNER_LOG_FORMAT": style}
    start(stream, environ)
    logger = structlog.get_logger("runner.elastic")
    try:
        raise ValueError(f"cannot sign in with {secret!s}")
    except ValueError:
        logger.exception(f"sent {secret}", note=secret, nested={"a": [secret, {"b": (secret,)}]})
    logging.getLogger("elastic_transport").warning("sent %s", secret)
    assert "[redacted]" in stream.getvalue()
    assert "Q9X" not in stream.getvalue()
    assert "Z7K" not in stream.getvalue()


def test_the_key_alone_of_an_api_key_is_masked() -> None:
    stream = StringIO()
    start(stream, {"ELASTICSEARCH_API_KEY": "id-of-it:hunter2hunter2"})
    structlog.get_logger("runner").info("key id-of-it, secret hunter2hunter2")
    assert lines(stream)[0]["message"] == "key id-of-it, secret [redacted]"
