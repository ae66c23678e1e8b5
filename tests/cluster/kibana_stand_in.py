"""A stand-in for Kibana: its status, import and export of saved objects, exception lists and value lists, as their
documentation describes them.

What it answers in the less usual cases (a conflict, a reference to nothing, an object that is not there, a missing
privilege) has the shapes that Kibana's own tests of these routes expect.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import pytest

Key = tuple[str, str, str]
"""Space, type and id."""


@dataclass
class StandIn:
    """A Kibana with its spaces and objects; what a test sets, it obeys."""

    url: str = ""
    version: str = "8.19.3"
    base_path: str = ""
    spaces: tuple[str, ...] = ("default",)
    authorization: str = ""
    """What the header must be; any will do if empty."""
    may_write: bool = True
    may_read_lists: bool = True
    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    lists: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    """The items of exception lists by space and list id; lists of all spaces have the space `*`."""
    values: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Value lists by space and id."""
    moving: bool = False
    """Whether exception lists lose their first item between two pages."""
    exported_lines: int | None = None
    """At how many lines an export ends; None for all."""
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    failures: list[tuple[int, bytes, Mapping[str, str]]] = field(default_factory=list)
    """Answers to give to the next requests in place of the real ones."""
    _clock: Iterator[int] = field(default_factory=count)

    def fail_next(
        self, status: int, body: bytes = b"", *, times: int = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        self.failures += [(status, body, headers or {})] * times

    def edit(self, space: str, kind: str, id_: str, **attributes: Any) -> None:
        """Save an object as a user does in Kibana: its `updated_at` moves on."""
        item = self.objects[(space, kind, id_)]
        item["attributes"] |= attributes
        item["updated_at"] = self._now()

    def ids(self, space: str = "default") -> set[str]:
        return {id_ for place, _, id_ in self.objects if place == space}

    def _now(self) -> str:
        return f"2026-03-02T10:00:{next(self._clock) % 60:02}.000Z"

    def status(self) -> tuple[int, Any]:
        overall = {"overall": {"level": "available", "summary": "All services are available"}}
        return 200, {"name": "kibana", "version": {"number": self.version}, "status": overall}

    def export(self, space: str, wanted: Mapping[str, Any]) -> tuple[int, Any]:
        found, missing = [], []
        for entry in wanted["objects"]:
            kind, id_ = entry["type"], entry["id"]
            item = self.objects.get((space, kind, id_))
            if item is None:
                error = {
                    "statusCode": 404,
                    "error": "Not Found",
                    "message": f"Saved object [{kind}/{id_}] not found",
                }
                missing.append(entry | {"error": error})
            else:
                found.append(item)
        if missing:
            text = "Error fetching objects to export"
            return 400, {"statusCode": 400, "error": "Bad Request", "message": text, "attributes": {"objects": missing}}
        return 200, b"\n".join(json.dumps(item).encode() for item in found)

    def import_(self, space: str, items: list[dict[str, Any]], *, overwrite: bool) -> tuple[int, Any]:
        if not self.may_write:
            kinds = ",".join(dict.fromkeys(item["type"] for item in items))
            return 403, {"statusCode": 403, "error": "Forbidden", "message": f"Unable to bulk_create {kinds}"}
        here = {(item["type"], item["id"]) for item in items}
        errors: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for item in items:
            kind, id_ = item["type"], item["id"]
            report = {"type": kind, "id": id_, "meta": {"title": item["attributes"]["title"]}}
            lost = [
                {"type": ref["type"], "id": ref["id"]}
                for ref in item["references"]
                if ref["type"] in ("index-pattern", "search")
                and (ref["type"], ref["id"]) not in here
                and (space, ref["type"], ref["id"]) not in self.objects
            ]
            is_there = (space, kind, id_) in self.objects
            if lost:
                errors.append(report | {"error": {"type": "missing_references", "references": lost}})
            elif is_there and not overwrite:
                errors.append(report | {"error": {"type": "conflict"}})
            else:
                elsewhere = any(key[1:] == (kind, id_) and key[0] != space for key in self.objects)
                moved = {"destinationId": f"{id_}-copy"} if elsewhere else {}
                results.append(report | moved | ({"overwrite": True} if is_there else {}))
        if not errors:  # With one of these, nothing is stored at all.
            for item, result in zip(items, results, strict=True):
                now = self._now()
                id_ = result.get("destinationId", item["id"])
                self.objects[(space, item["type"], id_)] = item | {"id": id_, "created_at": now, "updated_at": now}
        body: dict[str, Any] = {"success": not errors, "successCount": len(results), "warnings": []}
        return 200, body | {"successResults": results} | ({"errors": errors} if errors else {})

    def except_(
        self, list_id: str, item_id: str, *entries: Mapping[str, Any], space: str = "default", **more: Any
    ) -> None:
        """Add an item to an exception list, which is made if it is not there."""
        agnostic = "agnostic" if space == "*" else "single"
        item: dict[str, Any] = {
            "_version": "WzEsMV0=",
            "id": f"{list_id}.{item_id}",
            "item_id": item_id,
            "list_id": list_id,
        }
        item |= {"type": "simple", "name": f"Item {item_id}", "description": "OPS-1", "namespace_type": agnostic}
        item |= {"entries": list(entries), "os_types": [], "tags": [], "comments": [], "tie_breaker_id": item_id}
        item |= {"created_at": self._now(), "created_by": "ann", "updated_at": self._now(), "updated_by": "ann"}
        self.lists.setdefault((space, list_id), []).append(item | more)

    def list_(self, space: str, what: str, query: Mapping[str, str]) -> tuple[int, Any]:
        if not self.may_read_lists:
            message = "API [GET] is unauthorized for user, this action is granted by the Kibana privileges [lists-read]"
            return 403, {"statusCode": 403, "error": "Forbidden", "message": message}
        list_id = query["list_id"]
        if what == "values":
            if (space, list_id) not in self.values:
                return 400, {"message": f"list_id: {list_id} does not exist", "status_code": 400}
            return 200, "".join(f"{value}\n" for value in self.values[space, list_id]).encode()
        key = ("*" if query["namespace_type"] == "agnostic" else space), list_id
        if key not in self.lists:
            named = "exception list id" if what == "items" else "exception list list_id"
            return 404, {"message": f'{named}: "{list_id}" does not exist', "status_code": 404}
        items = self.lists[key]
        if what == "list":
            return 200, {"id": f"id of {list_id}", "list_id": list_id, "type": "detection"}
        if what == "export":
            assert (query["id"], query["include_expired_exceptions"]) == (f"id of {list_id}", "true")
            told = {"exported_exception_list_count": 1, "exported_exception_list_item_count": len(items)}
            lines = [{"list_id": list_id, "type": "detection"}, *reversed(items), told][: self.exported_lines]
            return 200, b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        size, page = int(query["per_page"]), int(query["page"])
        if size * page > 10_000:
            return 400, {"message": "Result window is too large", "status_code": 400}
        shown = items[size * (page - 1) : size * page]
        if self.moving:
            del items[0]
        return 200, {"data": shown, "page": page, "per_page": size, "total": len(items)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def do_GET(self) -> None:
        self._answer("GET", b"")

    def do_POST(self) -> None:
        self._answer("POST", self.rfile.read(int(self.headers.get("content-length", 0))))

    def log_message(self, *args: Any) -> None:
        """Nothing: the tests look at `requests`."""

    def _answer(self, method: str, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.stand_in.requests.append((method, self.path, headers))
        if self.stand_in.failures:
            status, raw, extra = self.stand_in.failures.pop(0)
            self._send(status, raw, extra)
            return
        status, answer = self._route(method, body, headers)
        self._send(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), {})

    def _route(self, method: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        kibana = self.stand_in
        missing = 404, {"statusCode": 404, "error": "Not Found", "message": "Not Found"}
        path, _, query = self.path.partition("?")
        if not path.startswith(kibana.base_path):
            return missing
        path = path.removeprefix(kibana.base_path)
        space = "default"
        if path.startswith("/s/"):
            _, _, space, rest = path.split("/", 3)
            path = f"/{rest}"
        if kibana.authorization and headers.get("authorization") != kibana.authorization:
            if path == "/api/status":  # Everybody may see that much.
                return 200, {"status": {"overall": {"level": "available"}}}
            return 401, {"statusCode": 401, "error": "Unauthorized", "message": "Unauthorized"}
        if method == "POST" and "kbn-xsrf" not in headers:
            text = "Request must contain a kbn-xsrf header."
            return 400, {"statusCode": 400, "error": "Bad Request", "message": text}
        if space not in kibana.spaces:
            return missing
        match method, path:
            case "GET", "/api/status":
                return kibana.status()
            case "POST", "/api/saved_objects/_export":
                return kibana.export(space, json.loads(body))
            case "POST", "/api/saved_objects/_import":
                items = _file_of(body, headers["content-type"])
                return kibana.import_(space, items, overwrite="overwrite=true" in query)
            case "GET", "/api/exception_lists/items/_find":
                return kibana.list_(space, "items", dict(parse_qsl(query)))
            case "GET", "/api/exception_lists":
                return kibana.list_(space, "list", dict(parse_qsl(query)))
            case "POST", "/api/exception_lists/_export":
                return kibana.list_(space, "export", dict(parse_qsl(query)))
            case "POST", "/api/lists/items/_export":
                return kibana.list_(space, "values", dict(parse_qsl(query)))
        return missing

    def _send(self, status: int, raw: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "kbn-name": "kibana", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _file_of(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """The lines of the part `file` of a form."""
    message = BytesParser().parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + body)
    (part,) = [part for part in message.walk() if part.get_content_type() == "application/ndjson"]
    assert part.get_param("name", header="content-disposition") == "file"
    assert str(part.get_filename()).endswith(".ndjson")
    text = part.get_payload(decode=True)
    assert isinstance(text, bytes)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@contextmanager
def running() -> Iterator[StandIn]:
    """A stand-in that answers on a free port of this machine."""
    stand_in = StandIn()
    handler = type("Handler", (_Handler,), {"stand_in": stand_in})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in that serves while the test runs."""
    with running() as made:
        yield made
