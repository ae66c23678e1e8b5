"""Records around documents: lines of _bulk bodies, records of es_archiver, hits with `fields`, tries of pipelines."""

from __future__ import annotations

import re
from typing import Any

from runner.json_text import BrokenLine, read_document, write_json

_ACTION = re.compile(r'\s*\{\s*"(?:index|create|update|delete)"\s*:\s*\{')
_ACTION_KEYS = {
    "_index", "_id", "_type", "_routing", "routing", "_parent", "parent", "version", "_version", "version_type",
    "_version_type", "if_seq_no", "if_primary_term", "pipeline", "require_alias", "require_data_stream",
    "dynamic_templates", "list_executed_pipelines", "retry_on_conflict", "_retry_on_conflict", "_source", "op_type",
}  # fmt: skip
_ARCHIVED = re.compile(r'\s*\{\s*"type"\s*:\s*"[\w-]+"\s*,\s*"value"\s*:\s*\{')
_ARCHIVED_KEYS = {"id", "index", "source", "data_stream", "op_type", "type"}
_PLAIN_FIELDS = re.compile(r'"fields"\s*:\s*\{')
_SIMULATED = re.compile(r'\{\s*"(?:doc|processor_results)"\s*:')


def is_record(document: str) -> bool:
    """Whether this is the first of a run of records, not of documents.

    >>> [is_record(text) for text in ('{"index": {"_id": "1"}}', '{"index": {"a": "x"}}', '{"_id": "1", "fields": {}}')]
    [True, False, True]
    """
    return _action_of(document) is not None or _archived(document) is not None or _is_hit_of_fields(document)


class Records:
    """Documents and hits made of records, one after the other."""

    def __init__(self) -> None:
        self.passed: dict[str, int] = {}
        """How many records hold no event, by what they are."""
        self._is_bulk: bool | None = None
        self._action: tuple[str, dict[str, Any]] | None = None

    def document(self, text: str) -> str | None:
        """The document or hit of a value at the top of a text; None if it holds none."""
        if self._is_bulk is None:
            self._is_bulk = _action_of(text) is not None
        if self._is_bulk:
            return self._of_bulk(text)
        if (archived := _archived(text)) is not None:
            return self._of_archive(*archived)
        return self.element(text)

    def element(self, text: str) -> str | None:
        """The document or hit of an element of an array; None if it holds none."""
        if text == "null":
            return None
        if _is_hit_of_fields(text):
            return _hit_of_fields(text)
        return self._of_simulation(text) if _SIMULATED.match(text) else text

    def _pass(self, kind: str) -> None:
        self.passed[kind] = self.passed.get(kind, 0) + 1

    def _of_bulk(self, text: str) -> str | None:
        if (found := _action_of(text)) is not None:
            self._action = found if found[0] != "delete" else None
            if found[0] == "delete":
                self._pass("`delete` actions")
            return None
        (kind, meta), self._action = self._action or ("", {}), None
        if kind != "update":
            return _hit(meta, text) if meta else text
        try:
            update = read_document(text.encode(errors="surrogateescape"))
        except BrokenLine:
            return text
        document = next((update[key] for key in ("doc", "upsert") if isinstance(update.get(key), dict)), None)
        if document is None:
            self._pass("`update` actions without a document")
            return None
        return _hit(meta, _text(document))

    def _of_archive(self, kind: str, value: dict[str, Any]) -> str | None:
        source = value.get("source")
        if kind != "doc" or not isinstance(source, dict):
            self._pass(f"`{kind}` records of es_archiver")
            return None
        meta = {"_index": value.get("data_stream") or value.get("index"), "_id": value.get("id")}
        return _hit(meta, _text(source))

    def _of_simulation(self, text: str) -> str | None:
        """The last outcome of a document in an answer of `_simulate`."""
        found = _read(text)
        if found is None or not found.keys() <= {"doc", "processor_results"}:
            return text
        results = found.get("processor_results")
        outcome = results[-1] if isinstance(results, list) and results else found
        document = outcome.get("doc") if isinstance(outcome, dict) else None
        if not isinstance(document, dict) or not isinstance(document.get("_source"), dict):
            self._pass("documents that the pipeline dropped")
            return None
        return _hit(document, _text(document["_source"]))


def _action_of(text: str) -> tuple[str, dict[str, Any]] | None:
    """The action of a line of a _bulk body and what it says of its document."""
    found = _read(text) if _ACTION.match(text) else None
    if found is None or len(found) != 1:
        return None
    ((kind, meta),) = found.items()
    return (kind, meta) if isinstance(meta, dict) and meta.keys() <= _ACTION_KEYS else None


def _archived(text: str) -> tuple[str, dict[str, Any]] | None:
    """The type and value of a record of es_archiver."""
    found = _read(text) if _ARCHIVED.match(text) else None
    if found is None or len(found) != 2 or not isinstance(value := found.get("value"), dict):
        return None
    is_document = found["type"] == "doc" and "source" in value and value.keys() <= _ARCHIVED_KEYS
    is_other = found["type"] in ("index", "data_stream", "doc") and ("index" in value or "data_stream" in value)
    return (found["type"], value) if is_document or is_other else None


def _is_hit_of_fields(text: str) -> bool:
    return '"_source"' not in text and _PLAIN_FIELDS.search(text) is not None and _hit_of_fields(text) is not text


def _hit_of_fields(text: str) -> str:
    """The hit with `fields` as its document; each value is an array there, of which one of a single value is opened."""
    found = _read(text)
    if found is None or not ("_index" in found or "_id" in found) or not isinstance(found.get("fields"), dict):
        return text
    values = found["fields"].items()
    return _hit(found, _text({name: value[0] if _is_single(value) else value for name, value in values}))


def _is_single(value: object) -> bool:
    return isinstance(value, list) and len(value) == 1


def _hit(meta: dict[str, Any], source: str) -> str:
    origin = {key: meta[key] for key in ("_index", "_id") if isinstance(meta.get(key), str)}
    if not origin:
        return source
    return f'{_text(origin)[:-1]},"_source":{source}}}'


def _read(text: str) -> dict[str, Any] | None:
    try:
        return read_document(text.encode(errors="surrogateescape"))
    except BrokenLine:
        return None


def _text(value: object) -> str:
    return write_json(value).decode()
