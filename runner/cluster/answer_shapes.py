"""The shapes of Elasticsearch's answers, as far as the runner relies on them.

An answer is checked as a whole when it arrives. What else stands in it may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
import orjson
from msgspec import UNSET, UnsetType

Shape = Any
"""A type as `msgspec.convert` takes it."""

_SHOWN = 80
"""Characters of an answer in a message."""


def fault_of(answer: object, expected: Shape) -> str:
    """What is wrong with the shape of an answer, what was found and what was expected; "" if nothing is.

    >>> fault_of({"items": {}}, BULK)
    'expected `array`, got `object` at `$.items`; the answer begins {"items":{}}'
    """
    try:
        msgspec.convert(answer, expected)
    except msgspec.ValidationError as error:
        text = str(error).replace(" - at ", " at ")
        text = text.removesuffix(" at `$`")
        return f"{text[:1].lower()}{text[1:]}; the answer begins {beginning_of(answer)}"
    return ""


def beginning_of(answer: object) -> str:
    """The first characters of an answer, as JSON if it is that."""
    if isinstance(answer, Mapping | list | int | float | bool) or answer is None:
        text = orjson.dumps(answer, default=str).decode("utf-8", "replace")
    else:
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _object(name: str, needed: dict[str, Shape] | None = None, /, **optional: Shape) -> Shape:
    """An object with these members, of which the optional ones may be absent or null."""
    others = [(member, kind | None | UnsetType, UNSET) for member, kind in optional.items()]
    return msgspec.defstruct(name, [*(needed or {}).items(), *others])


def _list(kind: Shape) -> Shape:
    return list[kind]


def _named(kind: Shape) -> Shape:
    """An object whose members have names of any kind."""
    return dict[str, kind]


_OBJECTS: Final = list[dict[str, Any]]
_SHARDS: Final = _object("Shards", failed=int, failures=_OBJECTS)
_WHOLE: Final[dict[str, Shape]] = {
    "_shards": _SHARDS,
    "shard_failures": _OBJECTS,
    "_clusters": _object("Clusters", details=dict[str, dict[str, Any]]),
    "pit_id": str,
}
"""What says whether an answer is the whole answer."""
_EVENT: Final[dict[str, Shape]] = {"_source": dict[str, Any], "fields": dict[str, list[Any]]}
_SEQUENCE: Final = _object(
    "Sequence", events=_list(_object("EventOfSequence", _index=str, _id=str, **_EVENT)), join_keys=list[Any]
)
_HITS_OF_EQL: Final = _object(
    "EqlHits", events=_list(_object("Event", {"_index": str, "_id": str}, **_EVENT)), sequences=_list(_SEQUENCE)
)
_VERSION: Final = _object("Version", number=str, distribution=str, build_flavor=str)
_NAMES: Final = list[str] | str
_CAPS: Final = _object("Caps", indices=_NAMES, metadata_field=bool, searchable=bool)
_META: Final = _object("Meta", version=int | str, managed_by=str)

_MOMENT: Final = _object("Moment", value=float)

ROOT: Final = _object("Root", {"version": _VERSION}, cluster_uuid=str)
EQL: Final = _object("Eql", id=str, is_running=bool, hits=_HITS_OF_EQL, **_WHOLE)
"""Without hits while the search runs."""
EQL_DONE: Final = _object("EqlDone", {"hits": _HITS_OF_EQL}, id=str, **_WHOLE)
_COLUMNS: Final = _list(_object("EsqlColumn", {"name": str, "type": str}))
ESQL: Final = _object("Esql", id=str, is_running=bool, columns=_COLUMNS, values=list[list[Any]], **_WHOLE)
"""Without rows while the query runs."""
JOBS: Final = _object("Jobs", {"jobs": _OBJECTS})
DATAFEEDS: Final = _object("Datafeeds", {"datafeeds": _OBJECTS})
POINT: Final = _object("Point", {"id": str})
BULK: Final = _object("Bulk", {"items": _list(_named(_object("Item", {"status": int})))})
FIELD_CAPS: Final = _object(
    "FieldCaps",
    {"fields": _named(_named(_CAPS))},
    indices=_NAMES,
    failures=_list(_object("Failure", indices=list[str])),
)
DOCUMENT: Final = _object("Document", {"found": bool}, _source=dict[str, Any], _seq_no=int, _primary_term=int)
DOCUMENTS: Final = _object(
    "Documents",
    {
        "docs": _list(
            _object(
                "Got",
                {"_id": str},
                found=bool,
                error=dict[str, Any],
                _source=dict[str, Any],
                _seq_no=int,
                _primary_term=int,
            )
        )
    },
)
ALIAS: Final = _named(_object("Behind", aliases=dict[str, dict[str, Any]]))
STREAMS: Final = _object(
    "Streams", data_streams=_list(_object("Stream", {"indices": _list(_object("Backing", {"index_name": str}))}))
)
MAPPINGS: Final = _named(_object("Mapped", mappings=_object("Mapping", _meta=_META)))
BY_NAME: Final = dict[str, dict[str, Any]]
"""Lifecycle policies, roles and remote clusters."""
DONE: Final = _object("Done", {"acknowledged": bool})
ROLE_WRITTEN: Final = _object("RoleWritten", {"role": dict[str, Any]})
REFRESHED: Final = _object("Refreshed", _shards=_SHARDS)
ROLLOVER: Final = _object("Rollover", {"rolled_over": bool, "new_index": str})
STAGES: Final = _object(
    "Counted",
    {
        "aggregations": _object(
            "Aggregations",
            {"stages": _object("Stages", {"buckets": _named(_object("Bucket", {"doc_count": int}))})},
        )
    },
    **_WHOLE,
)
_COUNTED_VALUES: Final = _object("CountedValues", {"value": int})
KEYS: Final = _object(
    "Keys",
    {
        "aggregations": _object(
            "KeyAggregations",
            {
                "keys": _object(
                    "KeyBuckets",
                    {
                        "buckets": _list(
                            _object("KeyBucket", {"doc_count": int, "key": dict[str, Any]}, values=_COUNTED_VALUES)
                        )
                    },
                    after_key=dict[str, Any],
                )
            },
        )
    },
    **_WHOLE,
)
"""Of a composite aggregation."""
TOTAL: Final = _object(
    "CountedAll",
    {"hits": _object("TotalHits", {"total": _object("Total", {"value": int})})},
    aggregations=_object("TotalAggregations", values=_COUNTED_VALUES),
    **_WHOLE,
)
COMPOSITE: Final = _object(
    "Composite",
    {
        "aggregations": _object(
            "CompositeAggregations",
            {
                "terms": _object(
                    "CompositePage",
                    {"buckets": _list(_object("CompositeBucket", {"key": dict[str, Any]}, primary=_MOMENT))},
                    after_key=dict[str, Any],
                )
            },
        )
    },
    **_WHOLE,
)
FIRST_HITS: Final = _object(
    "FirstHits",
    {
        "aggregations": _object(
            "FirstAggregations",
            {
                "terms": _object(
                    "FirstBuckets",
                    {
                        "buckets": _named(
                            _object(
                                "FirstBucket",
                                {"first": _object("FirstOfBucket", {"hits": _object("TopHits", {"hits": _OBJECTS})})},
                            )
                        )
                    },
                )
            },
        )
    },
    **_WHOLE,
)
PRIVILEGES: Final = _object("Privileges", {"cluster": dict[str, bool], "index": dict[str, dict[str, bool]]})
IDENTITY: Final = _object(
    "Identity", {"username": str}, authentication_realm=dict[str, Any], roles=list[str], api_key=dict[str, Any]
)
API_KEYS: Final = _object("ApiKeys", api_keys=_list(_object("ApiKey", id=str, expiration=int)))
LICENCE: Final = _object("Licence", {"license": dict[str, Any]})
NODES: Final = _object("Nodes", nodes=_named(_object("Node", name=str, timestamp=int)))
RESOLVED: Final = _object("Resolved", {"indices": _OBJECTS, "aliases": _OBJECTS, "data_streams": _OBJECTS})


PAGE: Final = _object("Page", {"hits": _object("HitsOfPage", {"hits": list[Any]})}, **_WHOLE)
"""Its hits, thousands of them, are checked where they are read."""


@cache
def hits(*, source: bool, sort: bool, versions: bool) -> Shape:
    """The answer of a search whose hits have these parts beside index and id."""
    needed: dict[str, Shape] = {"_index": str, "_id": str}
    needed |= {"_source": dict[str, Any]} if source else {}
    needed |= {"sort": list[Any]} if sort else {}
    needed |= {"_seq_no": int, "_primary_term": int} if versions else {}
    hit = _object("Hit", needed, fields=dict[str, list[Any]])
    return _object("Search", {"hits": _object("Hits", {"hits": _list(hit)})}, **_WHOLE)


@cache
def templates(kind: str) -> Shape:
    """The answer that lists templates of a kind."""
    stored = _object("Stored", {kind: _object("Template", _meta=dict[str, Any])})
    return _object("Listed", {f"{kind}s": _list(stored)})
