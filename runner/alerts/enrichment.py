"""What an alert shows of the indicators that its event matches: `threat.enrichments`, as Kibana writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.alerts.event_fields import flat_values, storable, text_at, value_at, values_at
from runner.alerts.identity import content_hash
from runner.events.documents import remove_path
from runner.search.protocol import Hit, MatchedIndicator

ENRICHMENTS = "threat.enrichments"
_TYPE = "indicator_match_rule"


def add_enrichments(document: dict[str, Any], found: tuple[MatchedIndicator, ...], path: str) -> None:
    """Add an entry for each indicator to those that the event has; an indicator stands at `path` of its document."""
    entries = [*values_at(document, ENRICHMENTS), *(_entry(one, path) for one in found)]
    remove_path(document, ENRICHMENTS)
    threat = document.get("threat")
    if threat is None or isinstance(threat, Mapping):
        document["threat"] = {**(threat or {}), "enrichments": entries}
    else:
        document[ENRICHMENTS] = entries


def _entry(found: MatchedIndicator, path: str) -> dict[str, Any]:
    """The entry of one indicator; one that cannot be read is known by the value alone."""
    matched: dict[str, Any] = {"atomic": storable(found.value), "field": found.field, "type": _TYPE}
    source: Mapping[str, Any] = {}
    if found.hit is not None:
        source = found.hit.source
        matched |= {"id": _id_of(found.hit), "index": found.hit.index}
    feed = text_at(source, "threat.feed.name")
    feeds = {"feed": {"name": storable(feed)}} if feed else {}
    return {"indicator": _plain(_object_at(source, path)), **feeds, "matched": matched}


def _id_of(indicator: Hit) -> str:
    """The indicator's id; a plain document is named by its `event.id`, or by its content where it has none."""
    return indicator.id or text_at(indicator.source, "event.id") or content_hash(indicator.source)


def _object_at(source: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The object at a path in any spelling, the first of a list; empty if there is none."""
    found = value_at(source, path)
    if isinstance(found, list):
        found = next((one for one in found if isinstance(one, Mapping)), None)
    if isinstance(found, Mapping):
        return found
    prefix = f"{path}."
    return {name.removeprefix(prefix): value for name, value in flat_values(source) if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    """The value as every JSON writer can write it."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else storable(value)
