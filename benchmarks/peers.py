"""The Python `eql` package on a part of the events, if it is installed; it is no dependency."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from searches import RuleSet


def eql_package_seconds(events: Path, rules: RuleSet, most: int) -> dict[str, float]:
    """Events a second of the package with those rules of the set that it can parse; empty if it is not installed."""
    try:
        import eql
    except ImportError:
        return {}
    engine: Any = eql.PythonEngine()
    taken = 0
    with eql.parser.elasticsearch_syntax, eql.parser.ignore_missing_functions:
        for rule in rules.rules:
            try:
                engine.add_query(eql.parse_query(rule.query))
            except eql.EqlError:
                continue
            taken += 1
    with events.open("rb") as file:
        given = [eql.Event(0, 0, orjson.loads(line)) for line in islice(file, most)]
    started = time.process_time()
    engine.stream_events(given)
    seconds = time.process_time() - started
    return {f"eql package, {taken} rules (events/s)": len(given) / seconds}
