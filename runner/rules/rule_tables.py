"""The tables inside a rule file: threats, mappings, suppression, metadata and what the other rule types need.

Names, types and defaults are those of elastic/detection-rules and of Kibana's detection engine API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

SeverityName = Literal["low", "medium", "high", "critical"]

Text = Annotated[str, Field(min_length=1)]
Texts = tuple[Text, ...]
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""A list of strings, or one string alone."""
Count = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
RiskScore = Annotated[StrictInt, Field(ge=0, le=100)]


class Record(BaseModel):
    """A frozen part of a rule file: unknown keys are refused, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ThreatEntry(Record):
    """A tactic (TA0002), technique (T1059) or sub-technique (T1059.004): its id, name and page."""

    id: Text
    name: Text
    reference: Text


class Technique(ThreatEntry):
    """A technique with its sub-techniques."""

    subtechnique: tuple[ThreatEntry, ...] = ()


class Threat(Record):
    """One `[[rule.threat]]`: a tactic with the techniques of it that the rule detects."""

    framework: Text
    tactic: ThreatEntry
    technique: tuple[Technique, ...] = ()


class SeverityMapping(Record):
    """Another severity for events whose `field` has `value`; the highest that applies wins."""

    field: str
    operator: Literal["equals"] = "equals"
    value: str = ""
    severity: SeverityName


class RiskScoreMapping(Record):
    """The risk score taken from an event's `field`, or `risk_score` where the field has `value`."""

    field: str
    operator: Literal["equals"] = "equals"
    value: str = ""
    risk_score: RiskScore | None = None


_SECONDS = {"s": 1, "m": 60, "h": 3_600}


class SuppressionDuration(Record):
    """How long alerts of one group are folded into the first."""

    value: Count
    unit: Literal["s", "m", "h"]


_STAGED = re.compile(r"\[([1-9][0-9]{0,3})\] *(.+)")


def staged_field(name: str) -> tuple[int | None, str]:
    """The stage that a field of `group_by` is taken from, counted from 1, and the field; None for no certain stage.

    >>> staged_field("[2] destination.ip"), staged_field("host.id")
    ((2, 'destination.ip'), (None, 'host.id'))
    """
    found = _STAGED.fullmatch(name)
    return (int(found[1]), found[2]) if found else (None, name)


class AlertSuppression(Record):
    """Folding of alerts that agree in the `group_by` fields; without `duration` within one run."""

    group_by: Annotated[Texts, Field(max_length=3)] = ()
    duration: SuppressionDuration | None = None
    missing_fields_strategy: Literal["suppress", "doNotSuppress"] = "suppress"

    @property
    def lasts(self) -> timedelta | None:
        """The duration as a length of time; None if alerts are folded within one run."""
        found = self.duration
        return None if found is None else timedelta(seconds=found.value * _SECONDS[found.unit])


class InvestigationFields(Record):
    """The fields that an analyst should see first."""

    field_names: Annotated[Texts, Field(min_length=1)]


class RelatedIntegration(Record):
    """An integration whose data the rule reads."""

    package: Text
    version: Text
    integration: Text | None = None


class RequiredField(Record):
    """A field that the rule's data must have."""

    name: Text
    type: Text
    ecs: StrictBool = False


class ExceptionListReference(Record):
    """An exception list that belongs to the rule, named by its ids."""

    id: str = ""
    list_id: Text
    type: Text = "detection"
    namespace_type: Literal["single", "agnostic"] = "single"


class ThresholdCardinality(Record):
    """How many different values a field must have."""

    field: Text
    value: Count


class Threshold(Record):
    """The condition of a threshold rule."""

    field: Annotated[OneOrMore, BeforeValidator(lambda value: () if value == "" else value)] = ()
    """The fields of the key; none: all events are of one key."""
    value: Count
    cardinality: tuple[ThresholdCardinality, ...] = ()


class HistoryWindowStart(Record):
    """How far back a new-terms rule looks for earlier occurrences."""

    field: Text = "history_window_start"
    value: Text


class NewTerms(Record):
    """The condition of a new-terms rule, in the nesting of the TOML format."""

    field: Text = "new_terms_fields"
    value: Texts
    history_window_start: tuple[HistoryWindowStart, ...]


class ThreatMapEntry(Record):
    """One comparison of an event's field with an indicator's."""

    field: Text
    type: Literal["mapping"] = "mapping"
    value: Text
    negate: StrictBool = False


class ThreatMapGroup(Record):
    """Comparisons that must all hold."""

    entries: tuple[ThreatMapEntry, ...]


class Metadata(Record):
    """The `[metadata]` table: the life of the file, of no effect on what the rule finds."""

    model_config = ConfigDict(extra="ignore")

    creation_date: str | None = None
    updated_date: str | None = None
    deprecation_date: str | None = None
    integration: OneOrMore = ()
    maturity: Literal["development", "experimental", "beta", "production", "deprecated"] | None = None
    min_stack_version: str | None = None
    min_stack_comments: str | None = None
    comments: str | None = None
    promotion: StrictBool | None = None
    bypass_bbr_timing: StrictBool | None = None
    os_type_list: tuple[str, ...] = ()
    query_schema_validation: StrictBool | None = None
    related_endpoint_rules: tuple[Any, ...] = ()
    extended: Mapping[str, Any] = Field(default_factory=dict)


class OsqueryTransform(Record):
    """An osquery button of the investigation guide."""

    label: str
    query: str
    ecs_mapping: Mapping[str, Mapping[str, Any]] | None = None


class InvestigateProvider(Record):
    """One condition of a timeline that the guide opens."""

    excluded: StrictBool = False
    field: str
    queryType: str  # noqa: N815 the format's own spelling
    value: str
    valueType: str  # noqa: N815 the format's own spelling


class InvestigateTransform(Record):
    """A timeline button of the investigation guide."""

    label: str
    description: str | None = None
    providers: tuple[tuple[InvestigateProvider, ...], ...] = ()
    relativeFrom: str | None = None  # noqa: N815 the format's own spelling
    relativeTo: str | None = None  # noqa: N815 the format's own spelling


class Transform(Record):
    """The `[transform]` table: what stands for `$osquery_0`, `$investigate_0` ... in the investigation guide."""

    osquery: tuple[OsqueryTransform, ...] = ()
    investigate: tuple[InvestigateTransform, ...] = ()
