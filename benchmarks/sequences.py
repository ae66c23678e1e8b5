"""Sequences over adversarial event files: time and memory by the count of events.

A matcher that scanned its open matches would take quadratic time; one that kept every event that meets a stage would
take linear memory. `python benchmarks/sequences.py [EVENTS]` prints these figures alone.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memory import peak_kilobytes
from searches import ALWAYS

from runner.rules.rule import Rule
from runner.search.compiled_rule import compile_rule
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest

_FIRST_NS = 1_700_000_000_000
_ANY_TWO = "sequence by host.id [any where true] [any where true]"


@dataclass(frozen=True, slots=True)
class Hard:
    """A rule, and hard events for it: host and action by the index of the event, and events per millisecond."""

    query: str
    event: Callable[[int], tuple[str, str]]
    a_millisecond: int = 1


CASES = {
    "one key that begins again and again": Hard(
        'sequence by host.id [any where event.action == "a"] [any where event.action == "b"]',
        lambda number: ("one", "a"),
    ),
    "one key, two of three stages": Hard(
        'sequence by host.id [any where true] [any where true] [any where event.action == "b"]',
        lambda number: ("one", "a"),
    ),
    "a key for each event, within maxspan": Hard(
        'sequence by host.id with maxspan=10s [any where true] [any where event.action == "b"]',
        lambda number: (f"host-{number}", "a"),
    ),
    "a key for each event, no maxspan": Hard(
        'sequence by host.id [any where true] [any where event.action == "b"]',
        lambda number: (f"host-{number}", "a"),
    ),
    "keys whose first stage never comes": Hard(
        'sequence by host.id [any where event.action == "b"] [any where true]',
        lambda number: (f"host-{number}", "a"),
    ),
    "every event in both stages, all at one time": Hard(
        _ANY_TWO, lambda number: (f"host-{number % 1000}", "a"), a_millisecond=1 << 60
    ),
    "out of order: all events wait": Hard(
        'sequence by host.id [any where true] [any where event.action == "b"]',
        lambda number: (f"host-{number % 1000}", "a"),
        a_millisecond=-1,
    ),
}


def sequence_costs(events: int) -> dict[str, float]:
    """Nanoseconds and bytes of memory per event by case, for `events` events and for four times as many."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        path = Path(folder, "events.ndjson")
        for name, case in CASES.items():
            costs = []
            for count in (events, 4 * events):
                _write(path, case, count)
                costs.append(_measured(path, name))
            (few_s, few_kb), (many_s, many_kb) = costs
            found[f"{name}: ns/event"] = few_s / events * 1e9
            found[f"{name}: ns/event, 4 x as many"] = many_s / (4 * events) * 1e9
            found[f"{name}: peak MB"] = few_kb / 1024
            found[f"{name}: peak MB, 4 x as many"] = many_kb / 1024
            found[f"{name}: bytes held for one event more"] = (many_kb - few_kb) * 1024 / (3 * events)
    return found


def _write(path: Path, case: Hard, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            host, action = case.event(number)
            if case.a_millisecond < 0:
                number = number * 7919 % count
            moment = _FIRST_NS + number // abs(case.a_millisecond)
            file.write(f'{{"@timestamp":{moment},"event":{{"action":"{action}"}},"host":{{"id":"{host}"}}}}\n')


def _measured(path: Path, name: str) -> tuple[float, float]:
    """Processor time in seconds and peak kilobytes of a process that searches the events."""
    command = [sys.executable, __file__, str(path), name]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, kilobytes = answer.split()
    return float(seconds), float(kilobytes)


async def _search(path: str, query: str) -> None:
    fields = {"rule_id": "r", "name": "r", "description": "r", "type": "eql", "language": "eql", "severity": "low"}
    rule = compile_rule(Rule.model_validate({**fields, "risk_score": 1, "query": query}))
    search = FileSearch([path])
    await search.prepare([rule])
    async for result in search.run([SearchRequest(rule, ALWAYS, 100)]):
        if result.error is not None:
            raise RuntimeError(result.error)
    await search.close()


def main() -> None:
    if len(sys.argv) == 3:
        path, name = sys.argv[1:]
        started = time.process_time()
        asyncio.run(_search(path, CASES[name].query))
        print(time.process_time() - started, peak_kilobytes())
        return
    for label, value in sequence_costs(int(sys.argv[1]) if len(sys.argv) > 1 else 250_000).items():
        print(f"{label:75} {value:>12,.1f}")


if __name__ == "__main__":
    main()
