"""The EQL search API over a node that lacks it: its documents, the local engine's matches, the documented shapes."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.elasticsearch.eql_request import EqlRequest, RefusedError
from tests.elasticsearch.faults import Partial

PAGE = 2000
Ask = Callable[[str, str, Any, Mapping[str, str]], Awaitable[tuple[int, Any]]]
"""method, path, body, URL parameters -> status and body of the node."""
Before = Callable[[], Awaitable[Partial | None]]
"""What happens before a search looks at anything: waits, and the decision that it is partial."""


@dataclass(slots=True)
class StoredSearch:
    """A search that goes on, or that is kept, under its id."""

    task: asyncio.Task[dict[str, Any]]
    started: float
    expires: float
    polls_left: int
    keep: bool
    status: int | None = field(default=None)


class EqlApi:
    """Answers EQL searches; lives on the proxy's event loop.

    `polls` is how often an asynchronous search still answers that it is running, whatever the time that it took.
    """

    def __init__(self, search: Callable[..., Mapping[str, Any]]) -> None:
        self._search = search
        self._stored: dict[str, StoredSearch] = {}
        self.polls = 0
        self.cancelled: list[str] = []
        self.someone_left = threading.Event()

    @property
    def kept(self) -> list[str]:
        """Ids of the searches that run or are kept and that nobody has deleted."""
        return [key for key, stored in self._stored.items() if stored.expires > time.time()]

    async def submit(self, ask: Ask, target: str, *, request: EqlRequest, before: Before) -> dict[str, Any]:
        """The answer to a new search: complete, or with an id if it is not done in time. Raises `RefusedError`."""
        task = asyncio.create_task(self._carry_out(ask, target, request=request, before=before))
        task.add_done_callback(_look_at)
        patience = request.wait_for_completion_timeout
        polls = self.polls if patience is not None else 0
        try:
            done, _ = await asyncio.wait({task}, timeout=0 if polls else patience)
        except asyncio.CancelledError:
            task.cancel()
            self.cancelled.append("")
            self.someone_left.set()
            raise
        if done and not polls and not (request.keep_on_completion and task.exception() is None):
            return task.result()
        key = uuid.uuid4().hex
        now = time.time()
        self._stored[key] = StoredSearch(task, now, now + request.keep_alive, polls, request.keep_on_completion)
        return self._answer(key, self._stored[key])

    async def poll(self, key: str, *, patience: float, keep_alive: float | None) -> dict[str, Any]:
        """The answer to a stored search; raises `RefusedError` if there is none, or if it failed."""
        stored = self._find(key)
        if keep_alive is not None:
            stored.expires = time.time() + keep_alive
        if stored.polls_left:
            stored.polls_left -= 1
            await asyncio.sleep(0)
            return self._running_answer(key)
        await asyncio.wait({stored.task}, timeout=patience)
        return self._answer(key, stored)

    def status(self, key: str) -> dict[str, Any]:
        """The answer of the status API."""
        stored = self._find(key)
        body: dict[str, Any] = {"id": key, "is_running": not self._done(stored), "is_partial": not self._done(stored)}
        body["start_time_in_millis"] = int(stored.started * 1000)
        body["expiration_time_in_millis"] = int(stored.expires * 1000)
        if self._done(stored):
            error = stored.task.exception()
            body["completion_status"] = error.status if isinstance(error, RefusedError) else 500 if error else 200
            if error is None:
                body["is_partial"] = stored.task.result()["is_partial"]
        return body

    def delete(self, key: str) -> dict[str, Any]:
        """Cancel or forget a stored search."""
        stored = self._find(key)
        del self._stored[key]
        if stored.task.cancel() or stored.polls_left:
            self.cancelled.append(key)
        return {"acknowledged": True}

    async def close(self) -> None:
        tasks = [stored.task for stored in self._stored.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _find(self, key: str) -> StoredSearch:
        stored = self._stored.get(key)
        if stored is None or stored.expires <= time.time():
            self._stored.pop(key, None)
            raise RefusedError(404, "resource_not_found_exception", key)
        return stored

    @staticmethod
    def _done(stored: StoredSearch) -> bool:
        return stored.task.done() and not stored.polls_left

    def _answer(self, key: str, stored: StoredSearch) -> dict[str, Any]:
        if not self._done(stored):
            return self._running_answer(key)
        if stored.task.cancelled():
            raise RefusedError(404, "resource_not_found_exception", key)
        return {"id": key, **stored.task.result()}

    @staticmethod
    def _running_answer(key: str) -> dict[str, Any]:
        hits = {"total": {"value": 0, "relation": "gte"}}
        return {"id": key, "is_partial": True, "is_running": True, "took": 0, "timed_out": False, "hits": hits}

    async def _carry_out(self, ask: Ask, target: str, *, request: EqlRequest, before: Before) -> dict[str, Any]:
        started = time.monotonic()
        partial = await before()
        if partial is not None:
            _refuse_partial(partial, request)
        mapping = await _mapping(ask, target, request)
        hits = await _documents(ask, target, request)
        found = await asyncio.to_thread(_match, self._search, hits, request=request, mapping=mapping)
        body: dict[str, Any] = {"is_partial": partial is not None, "is_running": False}
        body["took"] = int((time.monotonic() - started) * 1000)
        body["timed_out"] = partial is not None and partial.timed_out
        if partial is not None and partial.failures:
            body["shard_failures"] = list(partial.failures)
        if partial is not None and "sequences" in found and not request.allow_partial_sequence_results:
            found = {"total": {"value": 0, "relation": "eq"}, "sequences": []}
        return {**body, "hits": found}


def _look_at(task: asyncio.Task[dict[str, Any]]) -> None:
    """A failed search that nobody asks for again is no news."""
    if not task.cancelled():
        task.exception()


def _refuse_partial(partial: Partial, request: EqlRequest) -> None:
    """Failed shards are an error unless the request allows partial results."""
    if not partial.obey or request.allow_partial_search_results:
        return
    more = {"phase": "query", "grouped": True, "failed_shards": list(partial.failures)}
    raise RefusedError(503, "search_phase_execution_exception", "Partial shards failure", **more)


def _unknown_index(target: str) -> RefusedError:
    """A missing index has a cause of another type than the error itself."""
    refused = RefusedError(404, "index_not_found_exception", f"no such index [{target}]")
    cause = {"type": "verification_exception", "reason": f"Found 1 problem\nline -1:-1: Unknown index [{target}]"}
    refused.body["error"]["root_cause"] = [cause]
    return refused


async def _asked(ask: Ask, method: str, path: str, *, body: Any = None, **parameters: str) -> Any:
    status, answer = await ask(method, path, body, parameters)
    if status >= 400:
        refused = RefusedError(status, "exception", "the node refused")
        refused.body = answer
        raise refused
    return answer


async def _mapping(ask: Ask, target: str, request: EqlRequest) -> dict[str, Any]:
    """{index: mapping} of the target, runtime fields included.

    A remote cluster gives no mappings; those of the tests are the node itself, so they are asked for as its own.
    """
    answer: dict[str, Any] = {}
    for cluster, names in _by_cluster(target).items():
        found = await _asked(ask, "GET", f"/{names}/_mapping", body=None, **request.indices_options)
        answer |= {f"{cluster}{index}": held for index, held in found.items()}
    if not answer:
        raise _unknown_index(target)
    mappings = {}
    for index, held in answer.items():
        mapping = dict(held["mappings"])
        extra = {**mapping.pop("runtime", {}), **request.runtime_mappings}
        if extra:
            mapping["properties"] = {**mapping.get("properties", {}), **extra}
        mappings[index] = mapping
    return mappings


def _by_cluster(target: str) -> dict[str, str]:
    """The names of a target by the cluster that has them, with its colon; "" for the node itself."""
    names: dict[str, list[str]] = {}
    for name in target.split(","):
        cluster, colon, index = name.rpartition(":")
        names.setdefault(cluster + colon, []).append(index)
    return {cluster: ",".join(found) for cluster, found in names.items()}


async def _documents(ask: Ask, target: str, request: EqlRequest) -> list[dict[str, Any]]:
    """All documents of the target that pass the filter, ordered by the timestamp field."""
    opened = await _asked(ask, "POST", f"/{target}/_pit", keep_alive="1m", **request.indices_options)
    point, after, hits = opened["id"], None, []
    order = {"order": "asc", "unmapped_type": "date", "missing": "_last"}
    try:
        while True:
            body: dict[str, Any] = {"size": PAGE, "pit": {"id": point, "keep_alive": "1m"}, "track_total_hits": False}
            body["sort"] = [{request.timestamp_field: order}]
            body["query"] = request.filter or {"match_all": {}}
            body |= {"fields": list(request.fields)} if request.fields else {}
            body |= {"runtime_mappings": request.runtime_mappings} if request.runtime_mappings else {}
            body |= {"search_after": after} if after else {}
            page = await _asked(ask, "POST", "/_search", body=body)
            if page["_shards"]["failed"]:
                failures = page["_shards"].get("failures", [])
                raise RefusedError(
                    503, "search_phase_execution_exception", "Partial shards failure", failed_shards=failures
                )
            point = page.get("pit_id", point)
            hits += page["hits"]["hits"]
            if len(page["hits"]["hits"]) < PAGE:
                return hits
            after = hits[-1]["sort"]
    finally:
        await ask("DELETE", "/_pit", {"id": point}, {})


def _match(
    search: Callable[..., Mapping[str, Any]],
    hits: list[dict[str, Any]],
    *,
    request: EqlRequest,
    mapping: dict[str, Any],
) -> dict[str, Any]:
    """The `hits` of the answer, with the asked fields in each event."""
    events = [{name: hit[name] for name in ("_index", "_id", "_source")} for hit in hits]
    answer = search(
        request.query,
        events,
        size=request.size,
        result_position=request.result_position,
        event_category_field=request.event_category_field,
        timestamp_field=request.timestamp_field,
        tiebreaker_field=request.tiebreaker_field,
        mapping=mapping,
        fetch_size=request.fetch_size,
        max_samples_per_key=request.max_samples_per_key,
    )
    found: dict[str, Any] = dict(answer["hits"])
    fields = {(hit["_index"], hit["_id"]): hit["fields"] for hit in hits if "fields" in hit}
    if fields:
        if "events" in found:
            found["events"] = [_with_fields(event, fields) for event in found["events"]]
        for sequence in found.get("sequences", ()):
            sequence["events"] = [_with_fields(event, fields) for event in sequence["events"]]
    return found


def _with_fields(event: Mapping[str, Any], fields: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    values = fields.get((event["_index"], event["_id"]))
    return {**event, **({"fields": values} if values else {})}
