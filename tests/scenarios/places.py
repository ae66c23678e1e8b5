"""Where the processes of the crash campaign find their events and keep their state: a folder, or a cluster.

A place says how a process is started on it, when to kill it (`moment`), what else goes wrong meanwhile (`trouble`) and
where in its work a killed process was (`phase`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from elasticsearch import ApiError, Elasticsearch
from elasticsearch import ConnectionError as Unreachable

from tests.elasticsearch.faults import Gate
from tests.elasticsearch.fixture import remove_all
from tests.elasticsearch.node import START_SECONDS, Node
from tests.elasticsearch.proxy import Proxy
from tests.scenarios.incidents import Event, lines_of
from tests.scenarios.snapshot import Snapshot, copy_sqlite, read_cluster, read_sqlite, unfinished_write
from tests.scenarios.starter import Started

LONGEST_WAIT = 3.0
"""Seconds that a moment is waited for; after them the process is killed wherever it is."""
MAPPINGS: Mapping[str, Any] = {
    "dynamic_templates": [{"strings": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}}],
    "properties": {
        "@timestamp": {"type": "date"},
        "message": {"type": "match_only_text"},
        "destination": {"properties": {"ip": {"type": "ip"}}},
        "source": {"properties": {"ip": {"type": "ip"}}},
    },
}
_TROUBLES = ("429 for writes", "503 for searches", "cut", "cut after the write", "partial", "slow", "node restart")
_WITHIN_READING = ("_eql/search", "_pit", "_field_caps")


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: `wait` returns at that moment, or when the process has ended."""

    name: str
    wait: Callable[[Started], None]


class Place(Protocol):
    """Events and state of one round."""

    name: str
    env: Mapping[str, str]

    def arguments(self, *, calm: bool = False) -> Sequence[object]:
        """The flags of every command; with `calm` for a state of its own, which an undisturbed run fills."""
        ...

    def write(self, events: Sequence[Event]) -> None: ...

    def snapshot(self, *, calm: bool = False) -> Snapshot: ...

    def moment(self, rng: Random) -> Moment:
        """A moment in the middle of the writing, other than by chance."""
        ...

    def trouble(self, rng: Random) -> str:
        """Let something else go wrong during the next process; says what."""
        ...

    def look(self, started: Started) -> None:
        """Note what `phase` needs to know of a process that is about to be killed."""
        ...

    def phase(self, before: Snapshot, after: Snapshot) -> str:
        """Where in its work the killed process was."""
        ...

    def calm_down(self) -> None:
        """Let nothing go wrong from now on."""
        ...

    def close(self) -> None:
        """Leave nothing behind outside the round's folder."""
        ...


def by_writing(before: Snapshot, after: Snapshot) -> str | None:
    """The phase as far as what was written tells it."""
    if after.torn_groups() > before.torn_groups():
        return "inside the alerts of a run"
    if after.unrecorded() > before.unrecorded():
        return "between alerts and ledger"
    return None


class FolderPlace:
    """Events in a folder, state in a SQLite file."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.env: Mapping[str, str] = {
            "RUNNER_LOG_FORMAT": "text",
            "RUNNER_LISTEN": "off",
            "RUNNER_LEARN_TERMS": "0s",
        }
        self._folder = folder
        self.state = folder / "state.db"
        self._has_open: frozenset[str] = frozenset()
        self._unfinished = False
        (folder / "events").mkdir()

    def arguments(self, *, calm: bool = False) -> Sequence[object]:
        state = self._folder / "calm.db" if calm else self.state
        return ("--events", self._folder / "events", "--rules", self._folder / "rules", "--state", state)

    def write(self, events: Sequence[Event]) -> None:
        with (self._folder / "events" / "events.ndjson").open("ab", buffering=0) as file:
            file.write(lines_of(events))

    def snapshot(self, *, calm: bool = False) -> Snapshot:
        """Read from a copy, so that the next process finds file and log as the killed one has left them."""
        state = self._folder / "calm.db" if calm else self.state
        if not state.exists():
            return Snapshot()
        log = state.with_name(state.name + "-wal")
        if not calm:
            self._unfinished = unfinished_write(log)
        copy = copy_sqlite(state, self._folder / "copy.db")
        try:
            return read_sqlite(copy)
        finally:
            for name in ("copy.db", "copy.db-wal", "copy.db-shm"):
                (self._folder / name).unlink(missing_ok=True)

    def moment(self, rng: Random) -> Moment:
        """Right after the log of the SQLite file was written to for the n-th time, while that write is under way."""
        number = int(2 ** rng.uniform(0, 6.5))
        after = rng.choice((0.0, 0.0, 0.0005, 0.002))

        def wait(started: Started) -> None:
            last, seen = self._log_state(), 0
            deadline = time.monotonic() + LONGEST_WAIT
            while seen < number and time.monotonic() < deadline:
                if started.ended(0.0001):
                    return
                state = self._log_state()
                seen += state != last
                last = state
            started.ended(after)

        return Moment("at a write to the log", wait)

    def trouble(self, rng: Random) -> str:
        return ""

    def look(self, started: Started) -> None:
        self._has_open = started.open_files()

    def phase(self, before: Snapshot, after: Snapshot) -> str:
        if self._unfinished:
            return "inside a transaction"
        if (told := by_writing(before, after)) is not None:
            return told
        if len(after.runs) > len(before.runs):
            return "after a ledger entry"
        return "reading events" if str(self.state) in self._has_open else "start-up"

    def calm_down(self) -> None:
        """Nothing goes wrong in a folder but the kills."""

    def close(self) -> None:
        """There is nothing outside the folder."""

    def _log_state(self) -> tuple[int, bytes]:
        """The length of the log, and the head of its index, which counts the transactions."""
        try:
            size = self.state.with_name(self.state.name + "-wal").stat().st_size
            number = os.open(self.state.with_name(self.state.name + "-shm"), os.O_RDONLY)
        except FileNotFoundError:
            return 0, b""
        try:
            return size, os.pread(number, 48, 0)
        finally:
            os.close(number)


class ClusterPlace:
    """Events, alerts and state in a cluster, behind a proxy in which requests fail; `node` is restarted, if given."""

    name = "elasticsearch"

    def __init__(self, url: str, proxy: Proxy, *, name: str, rules: Path, node: Node | None = None) -> None:
        self._url, self._proxy, self._rules, self._node = url, proxy, rules, node
        self._stream = f"logs-endpoint.events.{name}"
        self._name = name
        self.env: Mapping[str, str] = self._environment(calm=False)
        self._gates: list[Gate] = []
        self._last_path = ""
        self._restart = 0.0
        with Elasticsearch(url, request_timeout=START_SECONDS) as client:
            client.indices.create(index=self._stream, mappings=dict(MAPPINGS))

    def arguments(self, *, calm: bool = False) -> Sequence[object]:
        self.env = self._environment(calm=calm)
        return ("--rules", self._rules)

    def write(self, events: Sequence[Event]) -> None:
        """Once the node is there; an event that it has already is not written again."""
        operations: list[Mapping[str, Any]] = []
        for event in events:
            operations += [{"create": {"_id": event.id}}, event.document]
        with Elasticsearch(self._url, max_retries=0, request_timeout=START_SECONDS) as client:
            for start in range(0, len(operations), 2_000):
                answer = self._patiently(client, operations[start : start + 2_000])
                failed = [item for item in answer["items"] if item["create"]["status"] not in (201, 409)]
                assert not failed, failed[0]

    def _patiently(self, client: Elasticsearch, operations: Sequence[Mapping[str, Any]]) -> Any:
        """The answer of the node, which may be restarting: whoever sends events waits for it, too."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return client.bulk(index=self._stream, operations=operations, refresh=True)
            except (Unreachable, ApiError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def snapshot(self, *, calm: bool = False) -> Snapshot:
        names = self._names(calm=calm)
        return asyncio.run(read_cluster(self._url, alerts=names["alerts"], state=names["state"], runs=names["runs"]))

    def moment(self, rng: Random) -> Moment:
        """While the n-th bulk request is under way: before the node has got it, or after it has answered."""
        number = rng.randint(0, 6)
        self._proxy.delay(0, on="_bulk", times=number)
        if rng.random() < 0.5:
            gate = self._proxy.hold(on="_bulk")
            self._gates.append(gate)
            name = "before a bulk request arrives"
        else:
            gate = None
            self._proxy.cut_next(on="_bulk", reached_node=True)
            name = "after the answer to a bulk request is lost"

        def wait(started: Started) -> None:
            deadline = time.monotonic() + LONGEST_WAIT
            while len(self._proxy.requests_on("_bulk")) <= number and time.monotonic() < deadline:
                if started.ended(0.001):
                    return
            # Long enough for the node to get the work done, too short for the request to be sent again.
            started.ended(rng.uniform(0.0, 0.005) if gate else rng.uniform(0.02, 0.15))

        return Moment(name, wait)

    def trouble(self, rng: Random) -> str:
        kind = rng.choice(_TROUBLES if self._node is not None else _TROUBLES[:-1])
        times = rng.randint(1, 3)
        match kind:
            case "429 for writes":
                self._proxy.fail_next(429, on="_bulk", times=times)
            case "503 for searches":
                self._proxy.fail_next(503, on="_search", times=times)
                self._proxy.fail_next(503, on="_eql/search", times=times)
            case "cut":
                self._proxy.cut_next(on=rng.choice(("_search", "_eql/search", "_bulk", "_alias")), times=times)
            case "cut after the write":
                self._proxy.cut_next(on="_bulk", reached_node=True, times=times)
            case "partial":
                self._proxy.partial_next(times=times, obey=False)
            case "slow":
                self._proxy.slow_next(0.3, on=rng.choice(("_search", "_eql/search", "_bulk")), times=times)
            case _:
                self._restart = rng.uniform(0.0, 1.0)
        return kind

    def look(self, started: Started) -> None:
        """Note the request that is under way; restart the node if that is what goes wrong."""
        if self._restart and self._node is not None:
            started.ended(self._restart)
            self._restart = 0.0
            self._node.kill()
            started.ended(0.1)
            self._node.start()
        requests = self._proxy.requests
        self._last_path = requests[-1].path if requests else ""

    def phase(self, before: Snapshot, after: Snapshot) -> str:
        told = by_writing(before, after)
        if told is not None:
            return told
        names, path = self._names(), self._last_path
        if not path:
            return "start-up"
        if path.endswith("/_bulk"):
            return "writing alerts" if names["alerts"] in path else "writing the ledger"
        if any(part in path for part in _WITHIN_READING) or path == "/_search" or self._stream in path:
            return "reading events"
        return "looking up what is stored"

    def calm_down(self) -> None:
        for gate in self._gates:
            gate.open()  # a request of a process that is dead arrives only now
        self._gates.clear()
        self._proxy.clear()

    def close(self) -> None:
        with Elasticsearch(self._url, request_timeout=START_SECONDS) as client:
            remove_all(client, f"*{self._name}*")

    def _names(self, *, calm: bool = False) -> dict[str, str]:
        mark = f"{self._name}{'-calm' if calm else ''}"
        return {part: f"campaign-{part}-{mark}" for part in ("alerts", "state", "runs")}

    def _environment(self, *, calm: bool) -> dict[str, str]:
        names = self._names(calm=calm)
        return {
            "ELASTICSEARCH_HOSTS": self._proxy.url,
            "RUNNER_ALERTS_ALIAS": names["alerts"],
            "RUNNER_STATE_INDEX": names["state"],
            "RUNNER_RUNS_INDEX": names["runs"],
            "RUNNER_LOG_FORMAT": "text",
            "RUNNER_LEARN_TERMS": "0s",
            "RUNNER_LISTEN": "off",
        }
