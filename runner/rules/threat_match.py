"""The condition of a rule of type threat_match: which indicators it takes, and which fields of events they match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.rules.model_errors import FieldFinding
from runner.rules.rule import Language, Rule
from runner.rules.rule_tables import ThreatMapEntry

INDICATOR_PATH = "threat.indicator"
"""Where an indicator stands in its document, unless the rule says so itself."""
_LANGUAGES = ("kuery", "lucene")


@dataclass(frozen=True, slots=True)
class ThreatMatchCondition:
    """The indicators of a rule and the groups of its mapping, of which one must hold: all entries of it together."""

    index: tuple[str, ...]
    query: str
    """What an indicator must meet; empty: any is one."""
    language: Language
    filters: tuple[Mapping[str, Any], ...]
    groups: tuple[tuple[ThreatMapEntry, ...], ...]
    path: str = INDICATOR_PATH
    """Where the indicator stands in its document."""

    @property
    def event_fields(self) -> tuple[str, ...]:
        """The fields of events that are compared, each once."""
        return tuple(dict.fromkeys(entry.field for group in self.groups for entry in group))

    @property
    def indicator_fields(self) -> tuple[str, ...]:
        """The fields of indicators that are compared, each once."""
        return tuple(dict.fromkeys(entry.value for group in self.groups for entry in group))


def threat_match_of(rule: Rule) -> ThreatMatchCondition | None:
    """The condition of a rule of type threat_match; None for a rule of any other type."""
    if rule.type != "threat_match":
        return None
    return ThreatMatchCondition(
        rule.threat_index,
        rule.threat_query or "",
        rule.threat_language or "kuery",
        rule.threat_filters,
        tuple(group.entries for group in rule.threat_mapping),
        rule.threat_indicator_path or INDICATOR_PATH,
    )


def threat_match_findings(rule: Mapping[str, Any]) -> Iterator[FieldFinding]:
    """What is wrong with the condition in a `[rule]` table."""
    if rule.get("type") != "threat_match":
        return
    if rule.get("threat_index") == []:
        yield FieldFinding(("rule", "threat_index"), "`threat_index` is empty, expected the indices of indicators")
    language = rule.get("threat_language")
    if isinstance(language, str) and language in ("eql", "esql"):
        message = f"`threat_language` is `{language}`, but indicators are asked for in {' or '.join(_LANGUAGES)}"
        yield FieldFinding(("rule", "threat_language"), message)
    mapping = rule.get("threat_mapping")
    if mapping == []:
        yield FieldFinding(("rule", "threat_mapping"), "`threat_mapping` is empty: no field is compared with another")
    for number, group in enumerate(mapping if isinstance(mapping, list) else ()):
        entries = group.get("entries") if isinstance(group, dict) else None
        if isinstance(entries, list):
            yield from _group(("rule", "threat_mapping", number, "entries"), entries)


def _group(at: tuple[str | int, ...], entries: list[Any]) -> Iterator[FieldFinding]:
    """What is wrong with the entries that must hold together."""
    tables = [(number, entry) for number, entry in enumerate(entries) if isinstance(entry, dict)]
    negated = [number for number, entry in tables if entry.get("negate") is True]
    if not entries:
        yield FieldFinding(at, "`entries` is empty: no field is compared with another")
    elif len(negated) == len(entries):
        message = "all entries have `negate = true`, expected one without: which indicator is it that does not match?"
        yield FieldFinding((*at, negated[0], "negate"), message)
    seen: dict[tuple[Any, Any], bool] = {}
    for number, entry in tables:
        pair, is_negated = (entry.get("field"), entry.get("value")), entry.get("negate") is True
        if pair in seen and seen[pair] is not is_negated:
            message = f"`{pair[0]}` is to match `{pair[1]}` and not to match it: no event can do both"
            yield FieldFinding((*at, number), message)
        seen.setdefault(pair, is_negated)
