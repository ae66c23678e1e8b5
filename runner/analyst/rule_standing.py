"""What is printed about a rule: whether it is run, why, and what overrides change in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from runner.exceptions import ExceptionItem
from runner.rules.load import is_supported, why_not
from runner.rules.rule import Rule
from runner.rules.rule_tables import AlertSuppression
from runner.selection import RuleChange, SelectedRules
from runner.windows import iso

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class RuleStanding:
    """One rule in a list: `state` is on, off, unsupported, deprecated, left out or replaced; `why` says why."""

    rule: Rule
    state: str
    why: str
    changes: tuple[RuleChange, ...] = ()

    @property
    def is_run(self) -> bool:
        return self.state == "on"

    def reasons(self) -> str:
        """Why the rule is as it is, in one line: its state, then what each override changes."""
        by: dict[str, list[RuleChange]] = {}
        for change in self.changes:
            by.setdefault(_override_text(change), []).append(change)
        parts = [f"{where}: {', '.join(map(change_text, changes))}" for where, changes in by.items()]
        return "; ".join(filter(None, (self.why, *parts)))

    def as_json(self) -> dict[str, Any]:
        rule = self.rule
        return {
            "rule_id": rule.rule_id,
            "name": rule.name,
            "type": rule.type,
            "severity": rule.severity,
            "risk_score": rule.risk_score,
            "enabled": rule.enabled,
            "state": self.state,
            "why": self.why,
            "changes": [change_json(change) for change in self.changes],
            "file": str(rule.path),
            "tags": list(rule.tags),
        }


def standings_in(selected: SelectedRules) -> Iterator[RuleStanding]:
    """All sound rules with what became of them, those in use first."""
    loaded = selected.loaded
    for rule in loaded.rules:
        changes = selected.changes_of(rule)
        why = (
            ""
            if rule.enabled or any(change.key == "enabled" for change in changes)
            else f"`enabled = false` in {rule.path}"
        )
        if loaded.place is None and not is_supported(rule, "files"):
            why = "; ".join(filter(None, (why, "runs in a cluster only")))
        yield RuleStanding(rule, "on" if rule.enabled else "off", why, changes)
    for rule in loaded.unsupported:
        yield RuleStanding(rule, "unsupported", why_not(rule.type), selected.changes_of(rule))
    for rule in loaded.left_out:
        yield RuleStanding(rule, "left out", "not selected by RUNNER_SELECT (--select)", selected.changes_of(rule))
    for rule in loaded.deprecated:
        yield RuleStanding(rule, "deprecated", "deprecated, and nothing selects it", selected.changes_of(rule))
    for rule, by in loaded.replaced:
        yield RuleStanding(rule, "replaced", f"replaced by {by}")


def change_text(change: RuleChange) -> str:
    """`severity low -> high`; of texts that are put before the rule's only the key."""
    if change.key in ("note", "setup"):
        return f"{change.key} added"
    return f"{change.key} {value_text(change.before)} -> {value_text(change.after)}"


def change_json(change: RuleChange) -> dict[str, Any]:
    override = change.override
    return {
        "key": change.key,
        "before": plain(change.before),
        "after": plain(change.after),
        "override": {"file": str(override.place.file), "line": override.place.line, "reason": override.reason},
    }


def _override_text(change: RuleChange) -> str:
    override = change.override
    return f"{override} ({override.reason})" if override.reason else str(override)


def value_text(value: Any) -> str:
    """A value of a rule in one short text."""
    match value:
        case None | ():
            return "none"
        case bool():
            return "true" if value else "false"
        case AlertSuppression():
            length = value.duration
            within = f" for {length.value}{length.unit}" if length is not None else ""
            return f"by {', '.join(value.group_by) or 'its own fields'}{within}"
        case tuple() if all(isinstance(item, str) for item in value):
            return _short(", ".join(value))
        case BaseModel() | tuple() | dict():
            return "..."
    return _short(str(value))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def exceptions_json(items: Sequence[ExceptionItem]) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "reason": item.reason,
            "expires": iso(item.expires) if item.expires is not None else None,
            "scope": item.scope,
            "file": str(item.place.file),
            "line": item.place.line,
        }
        for item in items
    ]
