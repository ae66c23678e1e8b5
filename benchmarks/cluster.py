"""The cost of cluster searches on the client's side: `python benchmarks/cluster.py`, 200 rules over 100,000 events.

Starts Elasticsearch as the tests do (`RUNNER_TEST_ELASTICSEARCH`, else a node from Maven Central), indexes sample
events with the shipped field types, and searches them with fetch and match; then serves the same matches through a
stand-in for the EQL search API. Own time is all time but the server's `took`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import orjson  # noqa: E402
from elasticsearch import Elasticsearch  # noqa: E402

from runner.cluster.elasticsearch import Connection, Elastic, open_client  # noqa: E402
from runner.events.fields.schema import DataType, shipped_schema  # noqa: E402
from runner.rules.load import load_rules  # noqa: E402
from runner.rules.rule import Rule  # noqa: E402
from runner.sample_data.generate import generate  # noqa: E402
from runner.search.cluster.eql_api import EqlApiSearch  # noqa: E402
from runner.search.cluster.fetch_and_match import FetchSearch  # noqa: E402
from runner.search.compiled_rule import CompiledRule, compile_rules  # noqa: E402
from runner.search.protocol import Search, SearchRequest, SearchResult  # noqa: E402
from runner.windows import Window  # noqa: E402
from tests.elasticsearch.fixture import remove_all  # noqa: E402
from tests.elasticsearch.node import Node, NodeUnavailableError  # noqa: E402

CORPUS = ROOT.parent / "shared" / "corpus" / "detection-rules"
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = timedelta(minutes=9)
BULK = 2_000
TOOK = re.compile(rb'"took":(\d+)')


def main() -> None:
    options = _arguments()
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    if options.stand_in is not None:
        asyncio.run(stand_in(options.stand_in))
        return
    count, rules = (3_000, 20) if options.smoke else (options.events, options.count)
    with elasticsearch() as url, indexed(url, count) as (namespace, size):
        wanted = rules_of(options.rules, rules, namespace)
        rows = asyncio.run(measured(url, wanted, rounds=1 if options.smoke else options.rounds))
    show(rows, events=count, size=size)
    if options.json:
        options.json.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n")
    if not all(row.matches for row in rows):
        raise SystemExit("no rule matched anything: this measures nothing")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few events and rules, one round: shows that it works")
    parser.add_argument("--events", type=int, default=100_000, metavar="N", help="default: 100,000")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="how many rules (default: 200)")
    parser.add_argument("--rules", type=Path, metavar="FOLDER", help="default: the corpus beside the project, if there")
    parser.add_argument("--rounds", type=int, default=3, help="of each way the best round counts (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--stand-in", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# The events.


@contextlib.contextmanager
def elasticsearch() -> Iterator[str]:
    """The address of an Elasticsearch: the given one, or a node of this run."""
    if given := os.environ.get("RUNNER_TEST_ELASTICSEARCH"):
        yield given
        return
    os.environ.setdefault("RUNNER_TEST_NODE_JVM_OPTIONS", "-Xmx1500m -XX:TieredStopAtLevel=4")
    try:
        with Node() as node:
            yield node.url
    except NodeUnavailableError as error:
        raise SystemExit(f"no Elasticsearch: {error}") from None


@contextlib.contextmanager
def indexed(url: str, count: int) -> Iterator[tuple[str, int]]:
    """The namespace of data streams with `count` sample events, and their size in bytes."""
    namespace = f"bench{uuid.uuid4().hex[:8]}"
    _say(f"indexing {count:,} events")
    sample = generate(events=count, attacks=20, seed=1, end=END, span=SPAN)
    size = 0
    with Elasticsearch(url, request_timeout=120) as client:
        client.indices.put_index_template(
            name=f"template-{namespace}",
            index_patterns=[f"logs-*-{namespace}"],
            data_stream={},
            priority=500,
            template={
                "settings": {"number_of_replicas": 0, "index.mapping.total_fields.limit": 30_000},
                "mappings": {"dynamic_templates": [KEYWORDS], "properties": properties()},
            },
        )
        try:
            events = iter(sample.events)
            while part := list(islice(events, BULK)):
                lines: list[Any] = []
                for event in part:
                    document = event.document
                    stream = f"logs-{document['data_stream']['dataset']}-{namespace}"
                    document["data_stream"]["namespace"] = namespace
                    lines += [orjson.dumps({"create": {"_index": stream}}), orjson.dumps(document)]
                    size += len(lines[-1])
                answer = client.bulk(operations=lines)
                assert not answer["errors"], next(i for i in answer["items"] if i["create"]["status"] != 201)
            client.indices.refresh(index=f"logs-*-{namespace}")
            client.indices.forcemerge(index=f"logs-*-{namespace}", max_num_segments=1)
            yield namespace, size
        finally:
            remove_all(client, f"*{namespace}*")


KEYWORDS: Mapping[str, Any] = {
    "strings": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}}
}


def properties() -> dict[str, Any]:
    """A mapping of all fields with shipped types that the test node supports."""
    plain = {kind: kind.value for kind in DataType if kind.value in PLAIN_TYPES}
    fields = shipped_schema().fields
    return {
        name: {"type": plain[found.type]}
        for name, found in fields.items()
        if found.type in plain and not any(name.startswith(f"{other}.") and other in fields for other in _parents(name))
    }


PLAIN_TYPES = frozenset({"keyword", "long", "integer", "double", "boolean", "date", "ip", "wildcard"})


def _parents(name: str) -> Iterator[str]:
    end = name.rfind(".")
    while end > 0:
        yield name[:end]
        end = name.rfind(".", 0, end)


# The rules.


def rules_of(folder: Path | None, count: int, namespace: str) -> list[CompiledRule]:
    """`count` EQL rules over the events, evenly spread over the folder or the corpus, or copies of the shipped ones."""
    chosen = folder or (CORPUS if CORPUS.is_dir() else ROOT / "rules" / "linux")
    rules = [rule for rule in load_rules([chosen]).rules if rule.language == "eql" and _is_about_endpoints(rule)]
    if not rules:
        raise SystemExit(f"{chosen}: no EQL rule over logs-endpoint.events.*")
    step = max(1, len(rules) // count)
    taken = rules[::step][:count]
    variants = [
        rule.model_copy(
            update={
                "rule_id": f"{rule.rule_id}-{number}",
                "query": rule.query.replace("event.action", f'process.name != "n{number}" and event.action', 1),
            }
        )
        for number in range(count - len(taken))
        for rule in (taken[number % len(taken)],)
    ]
    everything = [*taken, *variants]
    within = (
        rule.model_copy(update={"index": tuple(_within(pattern, namespace) for pattern in rule.index)})
        for rule in everything
    )
    return compile_rules(within)[0]


def _is_about_endpoints(rule: Rule) -> bool:
    return any(pattern.startswith("logs-endpoint.events") for pattern in rule.index)


def _within(pattern: str, namespace: str) -> str:
    """The pattern restricted to the namespace, to exclude other data of the cluster."""
    return f"{pattern.rstrip('*').rstrip('-')}*-{namespace}"


# Searching.


@dataclass(slots=True)
class Served:
    """The server's own figures."""

    requests: int = 0
    took_ms: float = 0.0
    hits: int = 0


class Watched(Elastic):
    """A client that counts its answers."""

    served: Served

    async def search_point(self, *given: Any, **more: Any) -> bytes:
        answer = await super().search_point(*given, **more)
        # Not decoded here: decoding is part of the measurement.
        took = TOOK.search(answer)
        self._note({"took": int(took[1]) if took else 0})
        self.served.hits += answer.count(b'"_id":')
        return answer

    async def eql_submit(self, *given: Any, **more: Any) -> dict[str, Any]:
        answer = await super().eql_submit(*given, **more)
        self._note(answer)
        return answer

    async def open_point(self, *given: Any, **more: Any) -> str:
        self.served.requests += 1
        return await super().open_point(*given, **more)

    async def close_point(self, *given: Any, **more: Any) -> None:
        self.served.requests += 1
        await super().close_point(*given, **more)

    async def field_caps(self, *given: Any, **more: Any) -> dict[str, Any]:
        self.served.requests += 1
        return await super().field_caps(*given, **more)

    def _note(self, answer: Mapping[str, Any]) -> None:
        self.served.requests += 1
        self.served.took_ms += answer.get("took", 0)


@dataclass(frozen=True, slots=True)
class Row:
    """The best round of a kind of search; times in milliseconds per rule."""

    way: str
    rules: int
    matches: int
    own_cpu: float
    own_wall: float
    took: float
    requests: float
    hits: int
    bytes_plain: int = 0
    bytes_packed: int = 0
    peak_megabytes: float = 0.0
    failed: Sequence[str] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


async def measured(url: str, rules: Sequence[CompiledRule], *, rounds: int) -> list[Row]:
    """A row for fetch and match, and one for the EQL search API with the same matches."""
    found, fetch = await _measure("fetch and match", url, FetchSearch, rules=rules, rounds=rounds)
    plain, packed = await _transferred(url, FetchSearch, rules=rules)
    fetch = replace(fetch, bytes_plain=plain, bytes_packed=packed)
    good = [one for one in rules if found[one.rule.rule_id].error is None]
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        answers = Path(folder) / "answers.json"
        answers.write_bytes(orjson.dumps({one.rule.rule_id: eql_answer(found[one.rule.rule_id]) for one in good}))
        with served(answers) as address:
            _, eql = await _measure("EQL API (stand-in)", address, EqlApiSearch, rules=good, rounds=rounds)
            plain, packed = await _transferred(address, EqlApiSearch, rules=good)
            eql = replace(eql, bytes_plain=plain, bytes_packed=packed)
    return [fetch, eql]


async def _measure(
    way: str, url: str, made: Callable[..., Search], *, rules: Sequence[CompiledRule], rounds: int
) -> tuple[dict[str, SearchResult], Row]:
    """The results by rule id, and the best round without the first, in which rules are compiled."""
    client = await _client(url)
    found: dict[str, SearchResult] = {}
    best: Row | None = None
    try:
        # One rule at a time: all time but the server's is then that of the client.
        search = made(client, concurrency=1)
        await search.prepare(rules)
        for number in range(rounds + 1):
            _say(f"{way}: round {number} of {rounds}" if number else f"{way}: compiling")
            client.served = Served()
            cpu, wall = time.process_time(), time.perf_counter()
            found = {result.request.rule.rule_id: result async for result in search.run(_requests(rules))}
            matches = sum(len(result.matches) for result in found.values())
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            served = client.served
            row = Row(
                way,
                len(rules),
                matches,
                own_cpu=cpu * 1_000 / len(rules),
                own_wall=(wall * 1_000 - served.took_ms) / len(rules),
                took=served.took_ms / len(rules),
                requests=served.requests / len(rules),
                hits=served.hits,
                peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
                failed=[result.error for result in found.values() if result.error is not None],
            )
            if number == 0:
                _say(f"  compiling took {row.own_cpu:.1f} ms a rule")
            elif best is None or row.own_cpu < best.own_cpu:
                best = row
    finally:
        await client.close()
    assert best is not None
    return found, best


async def _client(url: str, **more: Any) -> Watched:
    opened = open_client(Connection(hosts=(url,), request_timeout=120.0, **more))
    client = Watched(opened.transport)
    client.served = Served()
    return client


def _requests(rules: Sequence[CompiledRule]) -> list[SearchRequest]:
    window = Window(END - SPAN, END)
    return [SearchRequest(one, window, one.rule.max_signals + 1) for one in rules]


async def _transferred(url: str, made: Callable[..., Search], *, rules: Sequence[CompiledRule]) -> tuple[int, int]:
    """Bytes on the wire in both directions, plain and compressed, including the requests for field types."""
    sizes = []
    for packed in (False, True):
        async with relay(url) as (address, counted):
            client = await _client(address, compress=packed)
            try:
                search = made(client, concurrency=4)
                await search.prepare(rules)
                async for result in search.run(_requests(rules)):
                    assert not isinstance(result.error, str) or "Elasticsearch at" not in result.error, result.error
            finally:
                await client.close()
            sizes.append(counted[0])
    return sizes[0], sizes[1]


@contextlib.asynccontextmanager
async def relay(url: str) -> AsyncIterator[tuple[str, list[int]]]:
    """The address of a proxy to the URL, and the count of bytes that it forwarded."""
    host, _, port = url.rpartition("@")[2].removeprefix("http://").partition(":")
    login = url.removeprefix("http://").rpartition("@")[0]
    counted = [0]
    open_ends: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                counted[0] += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            _say("the relay lost a connection")
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, int(port.rstrip("/")))
        for one in (pump(reader, far_writer), pump(far_reader, writer)):
            task = asyncio.create_task(one)
            open_ends.add(task)
            task.add_done_callback(open_ends.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://{login}{'@' if login else ''}127.0.0.1:{server.sockets[0].getsockname()[1]}", counted
    finally:
        server.close()
        await asyncio.gather(*open_ends, return_exceptions=True)


# The stand-in for the EQL search API.


def eql_answer(result: SearchResult) -> dict[str, Any]:
    """The result as an answer of the EQL search API."""

    def event(hit: Any) -> dict[str, Any]:
        return {"_index": hit.index, "_id": hit.id, "_source": hit.source, "fields": hit.fields}

    hits: dict[str, Any] = {"total": {"value": len(result.matches), "relation": "eq"}}
    if any(match.is_sequence for match in result.matches):
        hits["sequences"] = [
            {"join_keys": match.join_keys, "events": [event(hit) for hit in match.hits]} for match in result.matches
        ]
    else:
        hits["events"] = [event(match.hits[0]) for match in result.matches]
    return {"is_partial": False, "is_running": False, "took": 0, "timed_out": False, "hits": hits}


@contextlib.contextmanager
def served(answers: Path) -> Iterator[str]:
    """The address of a process that answers each rule."""
    command = [sys.executable, str(Path(__file__)), "--stand-in", str(answers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def stand_in(path: Path) -> None:
    """Answer `_eql/search` with the file's answer for the rule in `X-Opaque-Id`, until terminated."""
    from aiohttp import web

    answers = {rule_id: orjson.dumps(answer) for rule_id, answer in orjson.loads(path.read_bytes()).items()}

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        found = answers[request.headers["X-Opaque-Id"].removeprefix("rule-runner:")]
        made = web.Response(body=found, headers={"X-elastic-product": "Elasticsearch"}, content_type="application/json")
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            made.enable_compression(web.ContentCoding.gzip)
        return made

    application = web.Application(client_max_size=2**28)
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


# What is shown.


def show(rows: Sequence[Row], *, events: int, size: int) -> None:
    print(f"\n{rows[0].rules} rules over {events:,} events of {size / events:,.0f} bytes; best round; per rule:\n")
    print(
        f"{'way':20} {'own CPU':>9} {'own wall':>9} {'took':>9} {'own/took':>9} {'requests':>9}"
        f" {'KB plain':>9} {'KB gzip':>9}"
    )
    for row in rows:
        ratio = f"{row.own_wall / row.took:.2f}" if row.took else "-"
        print(
            f"{row.way:20} {row.own_cpu:>6.1f} ms {row.own_wall:>6.1f} ms {row.took:>6.1f} ms {ratio:>9}"
            f" {row.requests:>9.2f} {row.bytes_plain / row.rules / 1e3:>9,.1f}"
            f" {row.bytes_packed / row.rules / 1e3:>9,.1f}"
        )
    print()
    for row in rows:
        print(f"{row.way}: {row.matches:,} matches, {row.hits:,} hits read, peak memory {row.peak_megabytes:,.0f} MB")
        if row.failed:
            print(f"  {len(row.failed)} rules failed, the first: {row.failed[0]}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
