"""The Python `eql` package over some of the events, if it is installed; it is not a dependency."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from searches import RuleSet

_TRIED = 200
"""Events with which each query is tried first."""


def eql_package_rates(events: Path, sets: list[RuleSet], most: int) -> dict[str, float]:
    """Events per second by set, with those of its rules that the package can run; empty if it is not installed."""
    try:
        import eql
    except ImportError:
        return {}
    with events.open("rb") as file:
        documents = [_without_arrays(orjson.loads(line)) for line in islice(file, most)]
    given = [eql.Event(_category(document), number, document) for number, document in enumerate(documents)]
    found = {}
    for rules in sets:
        engine: Any = eql.PythonEngine()
        taken = 0
        for query in _runnable(eql, rules, given[:_TRIED]):
            engine.add_query(query)
            taken += 1
        started = time.process_time()
        engine.stream_events(given)
        seconds = time.process_time() - started
        found[f"eql package, {taken} of {len(rules.rules)} rules (events/s)"] = len(given) / seconds
    return found


def _runnable(eql: Any, rules: RuleSet, given: list[Any]) -> Iterator[Any]:
    """The queries that the package accepts and runs over the events without an error."""
    with eql.parser.elasticsearch_syntax:
        for rule in (one.rule for one in rules.rules):
            try:
                query = eql.parse_query(rule.query)
                engine = eql.PythonEngine()
                engine.add_query(query)
                engine.stream_events(given)
            except (eql.EqlError, TypeError, KeyError, AttributeError):
                continue
            yield query


def _without_arrays(value: Any) -> Any:
    """The value without arrays, which the package cannot compare."""
    if isinstance(value, dict):
        return {key: _without_arrays(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return _without_arrays(value[0]) if len(value) == 1 else " ".join(map(str, value))
    return value


def _category(document: dict[str, Any]) -> str:
    return str(document.get("event", {}).get("category", "generic"))
