"""Exceptions in Kibana's form: lists and items of an NDJSON export, and `[[exceptions]]` of detection-rules' TOML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from runner.exceptions.item import EntryType, ExceptionEntry, ExceptionItem
from runner.exceptions.tables import Findings, Table
from runner.exceptions.value_lists import ValueLists
from runner.rules.model_errors import shortened

ListKey: TypeAlias = tuple[str, str]
"""`list_id` and `namespace_type`."""

RULE_LISTS = ("detection", "rule_default", "endpoint")
AGENT_LISTS = (
    "endpoint_trusted_apps", "endpoint_trusted_devices", "endpoint_events", "endpoint_host_isolation_exceptions",
    "endpoint_blocklists", "endpoint_custom_yara_signatures",
)  # fmt: skip
LIST_TYPES = (*RULE_LISTS, *AGENT_LISTS)
_NAMESPACES = ("single", "agnostic")
_ENTRY_TYPES = ("match", "match_any", "wildcard", "exists", "list", "nested")
_ENTRY_KEYS = ("field", "type", "operator", "value", "list", "entries")
_SMALL = ("keyword", "ip", "ip_range")
ITEM_KEYS = (
    "comments", "description", "entries", "list_id", "name", "type", "item_id", "namespace_type", "tags", "meta",
    "expire_time", "os_types", "id", "_version", "created_at", "created_by", "updated_at", "updated_by",
    "tie_breaker_id", "version", "immutable",
)  # fmt: skip
_CONTAINER_KEYS = (
    "description", "name", "type", "list_id", "namespace_type", "tags", "meta", "os_types", "id", "immutable",
    "version", "_version", "created_at", "created_by", "updated_at", "updated_by", "tie_breaker_id",
)  # fmt: skip
_METADATA_KEYS = (
    "creation_date", "updated_date", "list_name", "rule_ids", "rule_names", "deprecation_date", "comments", "maturity",
)  # fmt: skip


def read_detection_rules(document: Mapping[str, Any], findings: Findings, lists: ValueLists) -> list[ExceptionItem]:
    """The sound items of a document with `[[exceptions]]`; each is for the rules that its metadata names, and for those
    that refer to its list."""
    top = Table(document, (), findings, "the file")
    top.keys(("metadata", "exceptions"))
    metadata = top.table("metadata", "[metadata]")
    rule_ids: tuple[str, ...] = ()
    if metadata is None:
        findings.add((), "no [metadata] table: it says in `rule_ids` which rules the exceptions are for", at="key")
    else:
        metadata.keys(_METADATA_KEYS, "warning")
        rule_ids = metadata.texts("rule_ids")
    found: list[ExceptionItem] = []
    for outer in top.tables("exceptions", "[[exceptions]]"):
        outer.keys(("container", "items"))
        container = outer.table("container", "[exceptions.container]")
        outer.needed("container")
        if container is None:
            continue
        container.keys(_CONTAINER_KEYS)
        key = list_key(container)
        if container.text("type", "detection") in AGENT_LISTS:
            findings.add((*container.path, "type"), "a list that concerns no rules, only agents", severity="warning")
            continue
        for table in outer.tables("items", "[[exceptions.items]]"):
            if table.value.get("list_id") not in (None, *key[:1]):
                message = f"`list_id` is `{shortened(str(table.value['list_id']))}`, but the list is `{key[0]}`"
                findings.add((*table.path, "list_id"), message)
            found += _sound(table, key, lists, rules=rule_ids)
    return found


def list_key(table: Table) -> ListKey:
    """The id and the namespace of a list, as a list and its items name them."""
    table.needed("list_id")
    return table.text("list_id"), table.choice("namespace_type", _NAMESPACES, "single")


def read_lines(
    documents: Iterable[tuple[int, Mapping[str, Any]]], findings: Findings, lists: ValueLists
) -> tuple[list[ExceptionItem], dict[str, frozenset[ListKey]]]:
    """The sound items of the lines of an export, each with its number; and the lists that rules among them refer to, by
    rule id."""
    tables = [Table(document, (number,), findings, "this line") for number, document in documents]
    agents = {_key_of(table.value) for table in tables if table.value.get("type") in AGENT_LISTS}
    items: list[ExceptionItem] = []
    references: dict[str, frozenset[ListKey]] = {}
    for table in tables:
        kind, rule_id = table.value.get("type"), table.value.get("rule_id")
        if isinstance(rule_id, str):
            named = table.value.get("exceptions_list") or ()
            references[rule_id] = frozenset(_key_of(one) for one in named if isinstance(one, Mapping))
        elif kind == "simple" or "entries" in table:
            key = list_key(table)
            if key not in agents and not key[0].startswith(AGENT_LISTS):
                items += _sound(table, key, lists)
        elif kind not in LIST_TYPES and "list_id" in table:
            table.choice("type", LIST_TYPES, "detection")
    return items, references


def _key_of(value: Mapping[str, Any]) -> ListKey:
    return str(value.get("list_id", "")), str(value.get("namespace_type", "single"))


def _sound(table: Table, key: ListKey, lists: ValueLists, rules: tuple[str, ...] = ()) -> Iterator[ExceptionItem]:
    """The item of a table, if nothing is wrong with it."""
    before = table.findings.errors()
    item = _item(table, key, lists, rules=rules)
    if table.findings.errors() == before:
        yield item


def _item(table: Table, key: ListKey, lists: ValueLists, *, rules: tuple[str, ...]) -> ExceptionItem:
    table.keys(ITEM_KEYS, "warning")
    for needed in ("name", "entries"):
        table.needed(needed)
    name, kind = table.text("name"), table.text("type", "simple")
    if kind != "simple":
        table.findings.add((*table.path, "type"), f"`type` is `{shortened(kind)}`, expected `simple`")
    entries = table.tables("entries", "an entry")
    if "entries" in table and not table.value["entries"]:
        table.findings.add((*table.path, "entries"), "`entries` is empty: it would hit every event")
    item_id = table.text("item_id") if "item_id" in table else name
    return ExceptionItem(
        id=f"{key[0]}/{item_id}",
        name=name,
        reason=table.value["description"] if isinstance(table.value.get("description"), str) else "",
        expires=_expires(table),
        rules=rules,
        lists=(key,),
        os=table.texts("os_types") if table.value.get("os_types") else (),
        entries=tuple(_entry(one, lists) for one in entries),
        place=table.findings.place(table.path, "key"),
    )


def _expires(table: Table) -> datetime | None:
    value = table.value.get("expire_time")
    if value is None or isinstance(value, datetime):
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        table.findings.add((*table.path, "expire_time"), f"`expire_time` is `{shortened(str(value))}`, expected a date")
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _entry(table: Table, lists: ValueLists, nested: str = "") -> ExceptionEntry:
    table.keys(_ENTRY_KEYS)
    for key in ("field", "type"):
        table.needed(key)
    kind = cast("EntryType", table.choice("type", _ENTRY_TYPES, "match"))
    name = f"{nested}.{table.text('field')}" if nested else table.text("field")
    if kind != "nested":
        table.needed("operator")
    included = table.choice("operator", ("included", "excluded"), "included") == "included"
    if nested and kind in ("nested", "list"):
        table.findings.add((*table.path, "type"), f"`{kind}` cannot stand inside of `nested`")
    values: tuple[str, ...] = ()
    if kind in ("match", "match_any", "wildcard"):
        table.needed("value")
        values = table.texts("value")
        if kind != "match_any" and isinstance(table.value.get("value"), list):
            table.wrong("value", "a string")
    elif "value" in table:
        table.findings.add((*table.path, "value"), f"an entry of type {kind} has no `value`", at="key")
    place = table.findings.place(table.path, "key")
    if kind == "nested":
        if not table.value.get("entries"):
            table.findings.add(table.path, "`entries` is missing in an entry of type nested", at="key")
        inner = tuple(_entry(one, lists, name) for one in table.tables("entries", "an entry"))
        return ExceptionEntry(name, "nested", entries=inner, place=place)
    if kind == "list":
        return _listed(table, name, lists, included=included)
    return ExceptionEntry(name, kind, included, values, place=place)


def _listed(table: Table, name: str, lists: ValueLists, *, included: bool) -> ExceptionEntry:
    place = table.findings.place(table.path, "key")
    reference = table.table("list", "`list`")
    if reference is None:
        table.needed("list", ": the id and the type of a value list")
        return ExceptionEntry(name, "list", included, place=place)
    list_id, kind = reference.text("id"), reference.text("type", "keyword")
    if kind not in _SMALL:
        message = f"value lists of type `{shortened(kind)}` are not applied, those of {', '.join(_SMALL)} are"
        table.findings.add((*reference.path, "type"), message)
    try:
        found = lists.by_id(list_id)
    except ValueError as error:
        table.findings.add((*reference.path, "id"), str(error))
        return ExceptionEntry(name, "list", included, place=place)
    return ExceptionEntry(name, "list", included, value_list=found, of_spans=kind == "ip_range", place=place)
