"""`Rule`: one detection rule, in the names of its TOML file.

Names, types and defaults are those of the rule format of elastic/detection-rules and of Kibana's detection engine API
(https://www.elastic.co/docs/api/doc/kibana/group/endpoint-security-detections-api).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, field_validator, model_validator

from runner.esql import EsqlError, sources_of
from runner.messages.text_positions import Source
from runner.rules.date_math import at_reference, read_duration, resolve
from runner.rules.rule_tables import (
    AlertSuppression,
    Count,
    ExceptionListReference,
    InvestigationFields,
    Metadata,
    NewTerms,
    OneOrMore,
    Record,
    RelatedIntegration,
    RequiredField,
    RiskScore,
    RiskScoreMapping,
    SeverityMapping,
    SeverityName,
    Text,
    Texts,
    Threat,
    ThreatMapGroup,
    Threshold,
    Transform,
)
from runner.rules.saved_queries.saved_query import SavedQuery
from runner.rules.toml_positions import spelled_offset
from runner.windows import Window

RuleType = Literal["eql", "esql", "machine_learning", "new_terms", "query", "saved_query", "threat_match", "threshold"]
Language = Literal["eql", "esql", "kuery", "lucene"]

DEFAULT_INDEX: tuple[str, ...] = (
    "apm-*-transaction*", "auditbeat-*", "endgame-*", "filebeat-*", "logs-*", "packetbeat-*", "traces-apm*",
    "winlogbeat-*", "-*elastic-cloud-logs-*",
)  # fmt: skip
"""What a rule without `index` searches: the default of Kibana's setting `securitySolution:defaultIndex`."""


ANOMALIES: tuple[str, ...] = (".ml-anomalies-*",)
"""What a rule of type machine_learning searches: the results of all jobs."""


class RuleFields(Record):
    """The keys of the `[rule]` table of every rule type; absent ones have Kibana's default."""

    rule_id: Text
    name: Text
    description: Text
    type: RuleType
    severity: SeverityName
    risk_score: RiskScore

    language: Language = "kuery"
    query: str = ""
    index: Annotated[Texts, Field(min_length=1)] = DEFAULT_INDEX
    data_view_id: str | None = None
    filters: tuple[Mapping[str, Any], ...] = ()
    event_category_override: Text | None = None
    tiebreaker_field: Text | None = None
    timestamp_field: Text | None = None
    timestamp_override: Text | None = None
    timestamp_override_fallback_disabled: StrictBool = False

    enabled: StrictBool = True
    interval: str = "5m"
    from_: str = Field(default="now-6m", validation_alias="from", serialization_alias="from")
    to: str = "now"
    max_signals: Count = 100

    risk_score_mapping: tuple[RiskScoreMapping, ...] = ()
    severity_mapping: tuple[SeverityMapping, ...] = ()
    rule_name_override: Text | None = None
    building_block_type: Literal["default"] | None = None
    alert_suppression: AlertSuppression | None = None
    exceptions_list: tuple[ExceptionListReference, ...] = ()

    threat: tuple[Threat, ...] = ()
    tags: tuple[str, ...] = ()
    note: str = ""
    setup: str = ""
    references: tuple[str, ...] = ()
    false_positives: tuple[str, ...] = ()
    author: tuple[str, ...] = ()
    license: str = ""
    version: Count = 1
    revision: Annotated[StrictInt, Field(ge=0)] = 0
    investigation_fields: InvestigationFields | None = None
    related_integrations: tuple[RelatedIntegration, ...] = ()
    required_fields: tuple[RequiredField, ...] = ()
    timeline_id: str | None = None
    timeline_title: str | None = None
    meta: Mapping[str, Any] = Field(default_factory=dict)
    namespace: str | None = None
    output_index: str | None = None
    throttle: str | None = None
    actions: tuple[Mapping[str, Any], ...] = ()
    response_actions: tuple[Mapping[str, Any], ...] = ()

    saved_id: str | None = None
    threshold: Threshold | None = None
    new_terms: NewTerms | None = None
    new_terms_fields: tuple[str, ...] = ()
    history_window_start: str | None = None
    threat_index: tuple[str, ...] = ()
    threat_query: str | None = None
    threat_language: Language | None = None
    threat_filters: tuple[Mapping[str, Any], ...] = ()
    threat_mapping: tuple[ThreatMapGroup, ...] = ()
    threat_indicator_path: str | None = None
    concurrent_searches: Count | None = None
    items_per_search: Count | None = None
    anomaly_threshold: Annotated[StrictInt, Field(ge=0)] | None = None
    machine_learning_job_id: OneOrMore = ()

    @field_validator("interval")
    @classmethod
    def _interval_is_a_duration(cls, text: str) -> str:
        if read_duration(text) <= timedelta(0):
            raise ValueError(f"`{text}` is no time at all, expected more than 0")
        return text

    @field_validator("from_", "to")
    @classmethod
    def _is_date_math(cls, text: str) -> str:
        at_reference(text)
        return text

    @model_validator(mode="after")
    def _indices_of_its_type(self) -> Self:
        """Rules in ES|QL name their indices in the query, those of type machine_learning none."""
        if self.type == "machine_learning":
            self.__dict__["index"] = ANOMALIES
        elif self.type == "esql":
            try:
                self.__dict__["index"] = sources_of(self.query) or self.index
            except EsqlError:
                return self  # reported where rules are compiled
        return self


class Rule(RuleFields):
    """One detection rule, with the other tables of its file and the place of its query.

    `model_dump(by_alias=True, exclude_unset=True)` gives the fields back as the file wrote them.
    """

    metadata: Metadata = Field(default_factory=Metadata)
    transform: Transform = Field(default_factory=Transform)
    path: Path = Path()
    """The file that the rule was read from."""
    query_line: int = 1
    """The line of the file, from 1, on which the query's text begins: after the quotes and a line end next to them."""
    query_column: int = 1
    """The column, from 1 and in characters, of the query's first character."""
    query_escaped: str = ""
    """The query as it is spelled in the file where escapes make that differ from its text, else empty."""
    saved: SavedQuery | None = Field(default=None, exclude=True)
    """The saved query that `query`, `language` and `filters` are those of."""
    query_unread: str = Field(default="", exclude=True)
    """Why the rule's query is not known: it must not be searched. Empty for all others."""

    def __hash__(self) -> int:
        return hash((self.rule_id, self.path))

    @property
    def every(self) -> timedelta:
        """The interval as a length of time."""
        return read_duration(self.interval)

    def window_at(self, now: datetime) -> Window:
        """The window of a run that starts at `now`; raises ValueError if `from` is later than `to` then."""
        return Window(resolve(self.from_, now), resolve(self.to, now))

    @property
    def look_back(self) -> timedelta:
        """The length of the window of a run; of `from` and `to` that round or that name a date, at a fixed moment."""
        return at_reference(self.to) - at_reference(self.from_)

    @property
    def patterns_read(self) -> tuple[str, ...]:
        """The index patterns of its events and of its indicators."""
        return (*self.index, *self.threat_index) if self.type == "threat_match" else self.index

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides which events are found and when: equal for equal searches, in every process."""
        parts = {name: getattr(self, name) for name in _SEARCH_FIELDS}
        if self.type == "machine_learning":
            parts |= {"jobs": self.machine_learning_job_id, "score": self.anomaly_threshold}
        parts["exceptions_list"] = [entry.model_dump() for entry in self.exceptions_list]
        if self.type == "new_terms":
            parts["new_terms"] = self.model_dump(include={"new_terms", "new_terms_fields", "history_window_start"})
        if self.type == "threat_match":
            parts["threat_match"] = self.model_dump(include=_INDICATOR_FIELDS, mode="json")
        text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def guide(self) -> str:
        """The investigation guide with the buttons of `[transform]` filled in, as Kibana reads it."""
        return _PLACEHOLDER.sub(self._plugin, self.note) if self.transform != Transform() else self.note

    def _plugin(self, found: re.Match[str]) -> str:
        entries: tuple[Record, ...] = getattr(self.transform, found["plugin"])
        number = int(found["number"])
        if number >= len(entries):
            return found[0]
        entry = entries[number].model_dump(exclude_unset=True)
        return f"!{{{found['plugin']}{json.dumps(entry, sort_keys=True, separators=(',', ':'), default=str)}}}"


def place_in_file(rule: Rule, line: int, column: int) -> tuple[int, int]:
    """Line and column in the rule's file of a line and column of its query; all four count from 1, in characters."""
    if rule.query_escaped:
        offset = spelled_offset(rule.query_escaped, Source(rule.query).offset(line, column))
        line, column = Source(rule.query_escaped).place(offset)
    return rule.query_line + line - 1, column + (rule.query_column - 1 if line == 1 else 0)


_PLACEHOLDER = re.compile(
    r"\$(?P<brace>\{)?(?P<plugin>osquery|investigate)_(?P<number>[0-9]{1,4})(?(brace)\})(?![0-9])"
)

_SEARCH_FIELDS = (
    "type", "language", "query", "index", "data_view_id", "filters", "event_category_override", "tiebreaker_field",
    "timestamp_field", "timestamp_override", "timestamp_override_fallback_disabled", "interval", "from_", "to",
)  # fmt: skip
_INDICATOR_FIELDS = {"threat_index", "threat_query", "threat_language", "threat_filters", "threat_mapping"}
