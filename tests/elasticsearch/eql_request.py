"""Reading of an EQL search request: the body's fields and the URL's parameters, refused with the API's own errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.elasticsearch.faults import error_body

_UNITS = {"nanos": 1e-9, "micros": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"(\d+)(nanos|micros|ms|s|m|h|d)")


class RefusedError(Exception):
    """The request is answered with an error; carries status and body."""

    def __init__(self, status: int, kind: str, reason: str, **more: Any) -> None:
        self.status = status
        self.body = error_body(status, kind, reason, **more)
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class EqlRequest:
    """One checked search; times in seconds."""

    query: str
    filter: Mapping[str, Any] | None = None
    event_category_field: str = "event.category"
    timestamp_field: str = "@timestamp"
    tiebreaker_field: str | None = None
    size: int = 10
    fetch_size: int = 1000
    result_position: str = "tail"
    fields: tuple[Any, ...] = ()
    runtime_mappings: Mapping[str, Any] = field(default_factory=dict)
    max_samples_per_key: int = 1
    allow_partial_search_results: bool = False
    allow_partial_sequence_results: bool = False
    wait_for_completion_timeout: float | None = None
    keep_on_completion: bool = False
    keep_alive: float = 5 * 86400.0
    indices_options: Mapping[str, str] = field(default_factory=dict)


def read_time(text: Any, name: str) -> float:
    """Seconds of an Elasticsearch time value; raises `RefusedError`."""
    if text in (-1, "-1"):
        return float("inf")
    found = _TIME.fullmatch(str(text))
    if found is None:
        reason = (
            f"failed to parse setting [{name}] with value [{text}] as a time value: unit is missing or unrecognized"
        )
        raise RefusedError(400, "illegal_argument_exception", reason)
    return int(found[1]) * _UNITS[found[2]]


def _read_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _unreadable(name)
    return value


def _read_integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unreadable(name)
    return value


def _read_flag(value: Any, name: str) -> bool:
    if value in (True, "true", ""):
        return True
    if value in (False, "false"):
        return False
    reason = f"Failed to parse value [{value}] as only [true] or [false] are allowed."
    raise RefusedError(400, "illegal_argument_exception", reason)


def _read_object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _unreadable(name)
    return value


def _read_list(value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _unreadable(name)
    return tuple(value)


def _unreadable(name: str) -> RefusedError:
    return RefusedError(400, "x_content_parse_exception", f"[1:1] [eql/search] failed to parse field [{name}]")


_BODY: Mapping[str, Callable[[Any, str], Any]] = {
    "query": _read_text,
    "filter": _read_object,
    "event_category_field": _read_text,
    "timestamp_field": _read_text,
    "tiebreaker_field": _read_text,
    "size": _read_integer,
    "fetch_size": _read_integer,
    "result_position": _read_text,
    "fields": _read_list,
    "runtime_mappings": _read_object,
    "max_samples_per_key": _read_integer,
    "allow_partial_search_results": _read_flag,
    "allow_partial_sequence_results": _read_flag,
    "wait_for_completion_timeout": read_time,
    "keep_on_completion": _read_flag,
    "keep_alive": read_time,
}
_URL = (
    "allow_partial_search_results",
    "allow_partial_sequence_results",
    "wait_for_completion_timeout",
    "keep_on_completion",
    "keep_alive",
)
_INDICES_OPTIONS = ("allow_no_indices", "expand_wildcards", "ignore_unavailable")
_GENERAL = ("ccs_minimize_roundtrips", "filter_path", "human", "pretty", "error_trace")


def read_request(body: Any, parameters: Mapping[str, str]) -> EqlRequest:
    """The request of a body and the URL's parameters, which win; raises `RefusedError`."""
    if not isinstance(body, dict):
        raise RefusedError(400, "parse_exception", "request body is required")
    values: dict[str, Any] = {}
    for name, value in body.items():
        if name not in _BODY:
            raise RefusedError(400, "x_content_parse_exception", f"[1:1] [eql/search] unknown field [{name}]")
        values[name] = _BODY[name](value, name)
    for name, text in parameters.items():
        if name in _URL:
            values[name] = _BODY[name](text, name)
        elif name not in _INDICES_OPTIONS + _GENERAL:
            reason = f"request [/_eql/search] contains unrecognized parameter: [{name}]"
            raise RefusedError(400, "illegal_argument_exception", reason)
    options = {"ignore_unavailable": "true"} | {
        name: parameters[name] for name in _INDICES_OPTIONS if name in parameters
    }
    _check_position(values)
    _validate(values)
    return EqlRequest(**values, indices_options=options)


def _check_position(values: Mapping[str, Any]) -> None:
    position = values.get("result_position", "tail")
    if position not in ("head", "tail"):
        reason = f"result position needs to be 'head' or 'tail', received '{position}'"
        raise RefusedError(400, "illegal_argument_exception", reason)


def _validate(values: Mapping[str, Any]) -> None:
    """All that is wrong with the values, at once."""
    wrong = []
    if not values.get("query"):
        wrong.append("query is null or empty")
    if values.get("event_category_field") == "":
        wrong.append("event category field is null or empty")
    if values.get("timestamp_field") == "":
        wrong.append("@timestamp field is null or empty")
    if values.get("tiebreaker_field") == "":
        wrong.append("tiebreaker field is null or empty")
    if values.get("size", 0) < 0:
        wrong.append("size must be greater than or equal to 0")
    if values.get("fetch_size", 2) < 2:
        wrong.append("fetch size must be greater than 1")
    if values.get("max_samples_per_key", 1) < 1:
        wrong.append("max_samples_per_key must be greater than 0")
    for name, definition in values.get("runtime_mappings", {}).items():
        if not isinstance(definition, dict) or "type" not in definition:
            wrong.append(f"No type specified for runtime field [{name}]")
    if values.get("keep_alive", 60.0) < 60.0:
        wrong.append(f"[keep_alive] must be greater than 1 minute, got:{values['keep_alive']:g}s")
    if wrong:
        text = "".join(f"{number}: {reason};" for number, reason in enumerate(wrong, 1))
        raise RefusedError(400, "action_request_validation_exception", f"Validation Failed: {text}")
