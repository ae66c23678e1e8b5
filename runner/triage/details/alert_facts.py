"""What an alert says beyond its events: counts, new terms, anomalies, indicators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runner.alerts.bursts import RESULT
from runner.alerts.event_fields import text_at, texts_at, value_at, values_at
from runner.dates.dates import read_date
from runner.triage.details.section import Detail, Section, sections
from runner.windows import from_nanoseconds, iso

_PARAMETERS: Final = "kibana.alert.rule.parameters"
_INDICATOR: Final = (
    "type", "name", "description", "ip", "port", "domain", "url.full", "url.domain", "file.name", "file.hash.md5",
    "file.hash.sha1", "file.hash.sha256", "email.address", "registry.path", "confidence", "marking.tlp", "provider",
    "reference", "first_seen", "last_seen", "sightings",
)  # fmt: skip
_MOST_INDICATORS: Final = 20
_MOST_INFLUENCERS: Final = 10


def alert_facts(document: Mapping[str, Any]) -> tuple[Section, ...]:
    """The sections of an alert's document that its events do not have."""
    return sections(
        ("Counted", _counted(document)),
        ("New terms", _new_terms(document)),
        ("Anomaly", _anomaly(document)),
        *((f"Indicator {number}", _indicator(one)) for number, one in enumerate(_enrichments(document), start=1)),
    )


def _counted(document: Mapping[str, Any]) -> Iterator[Detail]:
    """What a threshold rule has counted, of whom, and what it asks for."""
    result = value_at(document, RESULT)
    if not isinstance(result, Mapping):
        return
    asked = value_at(document, f"{_PARAMETERS}.threshold")
    asked = asked if isinstance(asked, Mapping) else {}
    least = text_at(asked, "value")
    yield Detail("events", text_at(result, "count"), f"the rule asks for {least} or more" if least else "")
    for term in _objects(result, "terms"):
        yield Detail(text_at(term, "field"), text_at(term, "value"))
    wanted = {text_at(one, "field"): text_at(one, "value") for one in _objects(asked, "cardinality")}
    for one in _objects(result, "cardinality"):
        field = text_at(one, "field")
        meaning = f"the rule asks for {wanted[field]} or more" if wanted.get(field) else ""
        yield Detail(f"different values of {field}", text_at(one, "value"), meaning)
    yield Detail("first event", _moment(result.get("from")))
    yield Detail("last event", _moment(value_at(document, "kibana.alert.original_time")))


def _new_terms(document: Mapping[str, Any]) -> Iterator[Detail]:
    """The values that a new-terms rule has not seen before, and how far back it has looked."""
    values = texts_at(document, "kibana.alert.new_terms")
    if not values:
        return
    fields = texts_at(document, f"{_PARAMETERS}.new_terms_fields")
    names = fields if len(fields) == len(values) else [f"value {number + 1}" for number in range(len(values))]
    for name, value in zip(names, values, strict=True):
        yield Detail(name, value, "new" if len(values) == 1 else "new together")
    yield Detail("looked back to", text_at(document, f"{_PARAMETERS}.history_window_start"), "from the rule's run")


def _anomaly(document: Mapping[str, Any]) -> Iterator[Detail]:
    """The anomaly record of a machine-learning job: score, actual and typical value, influencers."""
    if value_at(document, "record_score") is None:
        return
    least = text_at(document, f"{_PARAMETERS}.anomaly_threshold")
    yield Detail("job", text_at(document, "job_id"))
    yield Detail("score", _number(document, "record_score"), f"the rule asks for {least} or more" if least else "")
    yield Detail(
        "function", " of ".join(filter(None, (text_at(document, "function"), text_at(document, "field_name"))))
    )
    yield Detail("actual", _number(document, "actual"))
    yield Detail("typical", _number(document, "typical"))
    yield Detail("probability", _number(document, "probability"))
    for kind in ("by", "over", "partition"):
        if name := text_at(document, f"{kind}_field_name"):
            yield Detail(f"{kind} {name}", text_at(document, f"{kind}_field_value"))
    for one in _objects(document, "influencers")[:_MOST_INFLUENCERS]:
        name, values = text_at(one, "influencer_field_name"), text_at(one, "influencer_field_values")
        yield Detail(f"influenced by {name}", values)


def _enrichments(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _objects(document, "threat.enrichments")[:_MOST_INDICATORS]


def _indicator(entry: Mapping[str, Any]) -> Iterator[Detail]:
    """An indicator of a threat feed, and the value of the event that it has met."""
    field, value = text_at(entry, "matched.field"), text_at(entry, "matched.atomic")
    if field or value:
        yield Detail("matched", f"{field}: {value}" if field else value, text_at(entry, "matched.type"))
    yield Detail("feed", text_at(entry, "feed.name"))
    indicator = value_at(entry, "indicator")
    if isinstance(indicator, Mapping):
        for name in _INDICATOR:
            yield Detail(name, text_at(indicator, name))
    source = "/".join(filter(None, (text_at(entry, "matched.index"), text_at(entry, "matched.id"))))
    yield Detail("document", source)


def _objects(document: Mapping[str, Any], path: str) -> list[Mapping[str, Any]]:
    return [entry for entry in values_at(document, path) if isinstance(entry, Mapping)]


def _number(document: Mapping[str, Any], path: str) -> str:
    """The numbers of a field, to four digits."""
    shown = (f"{one:.4g}" if isinstance(one, float) else str(one) for one in values_at(document, path))
    return ", ".join(shown)


def _moment(value: Any) -> str:
    """The time in UTC as ISO text; "" if it is none."""
    try:
        return iso(from_nanoseconds(read_date(value, nanos=True))) if value is not None else ""
    except (ValueError, TypeError, OverflowError):
        return ""
