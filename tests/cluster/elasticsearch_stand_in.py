"""A stand-in for Elasticsearch that keeps documents in memory: what the runner's stores and searches ask of a cluster.

Queries are carried out as far as the runner's stores need it. Events are given by a test. What a test sets for a kind
of request is answered in the place of the true answer.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = (
    ("root", r"GET /"),
    ("eql", r"POST /[^/]+/_eql/search"),
    ("eql poll", r"GET /_eql/search/.+"),
    ("eql delete", r"DELETE /_eql/search/.+"),
    ("field caps", r"POST /[^/]+/_field_caps"),
    ("open point", r"POST /[^/]+/_pit"),
    ("close point", r"DELETE /_pit"),
    ("search point", r"POST /_search"),
    ("search", r"POST /[^/]+/_search"),
    ("bulk", r"POST /[^/]+/_bulk"),
    ("refresh", r"POST /[^/]+/_refresh"),
    ("document", r"GET /[^/]+/_doc/.+"),
    ("alias", r"GET /_alias/.+"),
    ("read stream", r"GET /_data_stream/.+"),
    ("mapping", r"GET /[^/]+/_mapping"),
    ("read policy", r"GET /_ilm/policy/.+"),
    ("read template", r"GET /_(component|index)_template/.+"),
    ("read role", r"GET /_security/role/.+"),
    ("roll over", r"POST /[^/]+/_rollover"),
    ("privileges", r"POST /_security/user/_has_privileges"),
    ("identity", r"GET /_security/_authenticate"),
    ("api key", r"GET /_security/api_key"),
    ("licence", r"GET /_license"),
    ("nodes", r"GET /_nodes/stats/process"),
    ("resolve", r"GET /_resolve/index/.+"),
    ("remotes", r"GET /_remote/info"),
    ("exists", r"HEAD /.+"),
    ("write", r"PUT /.+"),
)
"""Names of the kinds of requests, each with what its method and path are like."""
JSON = "application/json"


@dataclass
class Elasticsearch:
    """A cluster with its indices; what a test sets, it obeys."""

    url: str = ""
    uuid: str = "uuid-1"
    has_eql: bool = True
    is_running: bool = False
    """Whether the first answer to an EQL search says that it is still running."""
    hostile: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """Answers by kind of request, each with its content type, with status 200."""
    spoil: Callable[[str, Any], Any] = lambda kind, answer: answer
    """The answer to give in the place of a true one, by its kind."""
    rejects: Callable[[Mapping[str, Any]], dict[str, Any] | None] = lambda document: None
    """The error, with its `status`, for a document that is to be written; None takes it."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Hits for every search for events."""
    indices: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    _numbers: int = 0

    def documents(self, name: str) -> dict[str, dict[str, Any]]:
        """The documents of an index or alias by id."""
        return self.indices.get(self.aliases.get(name, name), {})

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes, str]:
        kind = next((name for name, like in KINDS if re.fullmatch(like, f"{method} {path}")), "other")
        self.asked[kind] += 1
        if kind in self.hostile:
            text, content_type = self.hostile[kind]
            return 200, text, content_type
        handler = getattr(self, f"_{kind.replace(' ', '_')}", None)
        status, found = handler(path, body) if handler else (404, _error(404, "no_such", f"no handler: {kind}"))
        return status, json.dumps(self.spoil(kind, found) if status == 200 else found).encode(), JSON

    def _root(self, path: str, body: bytes) -> tuple[int, Any]:
        version = {"number": "8.19.0", "build_flavor": "default"}
        return 200, {"cluster_name": "lab", "cluster_uuid": self.uuid, "version": version}

    def _eql(self, path: str, body: bytes) -> tuple[int, Any]:
        if not self.has_eql:
            return 400, _error(400, "", "no handler found for uri [/x/_eql/search] and method [POST]")
        if self.is_running:
            return 200, {"id": "search-1", "is_running": True, "is_partial": True}
        return 200, self._eql_answer()

    def _eql_answer(self) -> dict[str, Any]:
        return {"is_running": False, "is_partial": False, "timed_out": False, "hits": {"events": self.events}}

    def _eql_poll(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"id": "search-1", **self._eql_answer()}

    def _eql_delete(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"acknowledged": True}

    def _field_caps(self, path: str, body: bytes) -> tuple[int, Any]:
        types = {"@timestamp": "date", "event.category": "keyword", "process.name": "keyword", "host.id": "keyword"}
        caps = {name: {kind: {"type": kind, "searchable": True}} for name, kind in types.items()}
        return 200, {"indices": ["logs-x"], "fields": caps}

    def _open_point(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"id": "point-1"}

    def _close_point(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"succeeded": True, "num_freed": 1}

    def _search_point(self, path: str, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        if "aggs" in asked:
            buckets = {name: {"doc_count": 1} for name in asked["aggs"]["stages"]["filters"]["filters"]}
            return 200, {
                "pit_id": "point-1",
                "_shards": {"failed": 0},
                "aggregations": {"stages": {"buckets": buckets}},
            }
        hits = [{**hit, "sort": [1_772_445_600_000 + number, number]} for number, hit in enumerate(self.events)]
        return 200, {"pit_id": "point-1", "_shards": {"failed": 0}, "hits": {"hits": hits}}

    def _search(self, path: str, body: bytes) -> tuple[int, Any]:
        name, asked = path.split("/")[1], json.loads(body)
        index = self.aliases.get(name, name)
        if index not in self.indices:
            return 404, _error(404, "index_not_found_exception", f"no such index [{index}]")
        found = [
            {"_index": index, "_id": id_, **stored}
            for id_, stored in self.indices[index].items()
            if _meets(asked.get("query", {}), id_, stored["_source"])
        ]
        sort = [key if isinstance(key, str) else next(iter(key)) for key in asked.get("sort", ())]
        for hit in found:
            hit["sort"] = [str(_at(hit["_source"], key)) for key in sort]
        found.sort(key=lambda hit: hit["sort"], reverse=sort[:1] == ["@timestamp"])
        if after := asked.get("search_after"):
            found = [hit for hit in found if hit["sort"] > after]
        if asked.get("_source") is False:
            found = [{name: value for name, value in hit.items() if name != "_source"} for hit in found]
        return 200, {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": found[: asked.get("size", 10)]}}

    def _bulk(self, path: str, body: bytes) -> tuple[int, Any]:
        lines, items = iter(body.splitlines()), []
        for line in lines:
            ((action, header),) = json.loads(line).items()
            index = self.aliases.get(header.get("_index", path.split("/")[1]), header.get("_index", path.split("/")[1]))
            documents = self.indices.setdefault(index, {})
            item: dict[str, Any] = {"_index": index, "_id": header["_id"], "status": 201}
            if action == "delete":
                documents.pop(header["_id"], None)
                items.append({action: item})
                continue
            document = json.loads(next(lines))
            there = documents.get(header["_id"])
            wrong = there is not None and there["_seq_no"] != header.get("if_seq_no", there["_seq_no"])
            if wrong or (action == "create" and there is not None):
                item |= {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "there"}}
            elif (error := self.rejects(document)) is not None:
                item |= error
            else:
                self._numbers += 1
                documents[header["_id"]] = {"_source": document, "_seq_no": self._numbers, "_primary_term": 1}
                item |= {"_seq_no": self._numbers, "_primary_term": 1}
            items.append({action: item})
        return 200, {"errors": any("error" in next(iter(one.values())) for one in items), "items": items}

    def _refresh(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"_shards": {"failed": 0}}

    def _document(self, path: str, body: bytes) -> tuple[int, Any]:
        _, index, _, id_ = path.split("/", 3)
        if (stored := self.indices.get(index, {}).get(id_)) is None:
            return 404, {"_index": index, "_id": id_, "found": False}
        return 200, {"_index": index, "_id": id_, "found": True, **stored}

    def _alias(self, path: str, body: bytes) -> tuple[int, Any]:
        name = path.rpartition("/")[2]
        if name not in self.aliases:
            return 404, {"error": f"alias [{name}] missing", "status": 404}
        return 200, {self.aliases[name]: {"aliases": {name: {"is_write_index": True}}}}

    def _read_stream(self, path: str, body: bytes) -> tuple[int, Any]:
        return 404, _error(404, "index_not_found_exception", "no such index")

    def _mapping(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {path.split("/")[1]: {"mappings": {"_meta": {"managed_by": "rule-runner", "version": 99}}}}

    def _read_policy(self, path: str, body: bytes) -> tuple[int, Any]:
        name = path.rpartition("/")[2]
        return (200, {name: self.objects[path]}) if path in self.objects else (404, {})

    _read_role = _read_policy

    def _read_template(self, path: str, body: bytes) -> tuple[int, Any]:
        kind, name = path.split("/")[1].removeprefix("_"), path.rpartition("/")[2]
        if path not in self.objects:
            return 404, _error(404, "resource_not_found_exception", f"{name} not found")
        return 200, {f"{kind}s": [{"name": name, kind: self.objects[path]}]}

    def _roll_over(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"rolled_over": False, "new_index": "x"}

    def _privileges(self, path: str, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        index = {
            name: dict.fromkeys(one["privileges"], True) for one in asked.get("index", ()) for name in one["names"]
        }
        return 200, {"cluster": dict.fromkeys(asked.get("cluster", ()), True), "index": index}

    def _identity(self, path: str, body: bytes) -> tuple[int, Any]:
        realm = {"name": "native", "type": "native"}
        key = {"id": "key-1", "name": "lab"}
        return 200, {"username": "elastic", "roles": ["x"], "authentication_realm": realm, "api_key": key}

    def _api_key(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"api_keys": [{"id": "key-1", "name": "lab", "expiration": 4_102_444_800_000}]}

    def _licence(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"license": {"type": "basic", "status": "active"}}

    def _nodes(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"nodes": {"a": {"name": "node-1", "timestamp": 1_772_445_600_000}}}

    def _resolve(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"indices": [{"name": "logs-x"}], "aliases": [], "data_streams": []}

    def _remotes(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, {"far": {"connected": True}}

    def _exists(self, path: str, body: bytes) -> tuple[int, Any]:
        name = path[1:]
        return (200 if name in self.indices or name in self.aliases else 404), None

    def _write(self, path: str, body: bytes) -> tuple[int, Any]:
        if path.count("/") == 1:
            self.indices.setdefault(path[1:], {})
            for alias in json.loads(body or b"{}").get("aliases", {}):
                self.aliases[alias] = path[1:]
        else:
            self.objects[path] = json.loads(body or b"{}")
        return 200, {"role": {"created": True}} if "/role/" in path else {"acknowledged": True}


def _error(status: int, kind: str, reason: str) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": reason}, "status": status} if kind else {"error": reason}


def _at(source: Mapping[str, Any], path: str) -> Any:
    """The value of a field, written as a path, in parts or both; None if there is none."""
    if path in source:
        return source[path]
    for end in range(len(path)):
        if path[end] == "." and isinstance(inner := source.get(path[:end]), Mapping):
            found = _at(inner, path[end + 1 :])
            if found is not None:
                return found
    return None


def _meets(query: Mapping[str, Any], id_: str, source: Mapping[str, Any]) -> bool:
    if not query:
        return True
    ((kind, about),) = query.items()
    match kind:
        case "bool":
            lists = {name: part if isinstance(part, list) else [part] for name, part in about.items()}
            wanted = lists.get("filter", []) + ([{"any": lists["should"]}] if "should" in lists else [])
            return all(_meets(one, id_, source) for one in wanted) and not any(
                _meets(one, id_, source) for one in lists.get("must_not", ())
            )
        case "any":
            return any(_meets(one, id_, source) for one in about)
        case "ids":
            return id_ in about["values"]
        case "exists":
            return _at(source, about["field"]) is not None
    ((name, value),) = about.items()
    found = _at(source, name)
    match kind:
        case "term":
            return bool(found == value)
        case "terms":
            return found in value
        case "prefix":
            return str(found).startswith(value["value"] if isinstance(value, dict) else value)
        case "range":
            return all(_COMPARED[way](str(found), str(bound)) for way, bound in value.items() if way in _COMPARED)
    raise AssertionError(f"no such query here: {kind}")


_COMPARED: dict[str, Callable[[str, str], bool]] = {
    "gte": lambda a, b: a >= b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "lt": lambda a, b: a < b,
}


@contextmanager
def standing_in(**options: Any) -> Iterator[Elasticsearch]:
    """A cluster that answers on a free port of this machine."""
    cluster = Elasticsearch(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, text, content_type = cluster.answer(self.command, self.path.partition("?")[0], body)
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("x-elastic-product", "Elasticsearch")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
