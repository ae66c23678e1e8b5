"""`rule-runner rules diff`: what differs between two sets of rules."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text

from runner.analyst.rule_standing import plain, value_text
from runner.cli.console import counted, out, print_json, printable, say, warn
from runner.cli.exit_codes import ExitCode
from runner.errors import SettingsError
from runner.rules.load import LoadedRules, load_rules
from runner.rules.rule import Rule
from runner.rules.rule_archive import is_archive, unpack_rules
from runner.rules.rule_diff import ChangedRule, RuleSetDiff, compare_rules
from runner.settings.settings import Settings

_SHOWN = frozenset({
    "name", "type", "language", "severity", "risk_score", "version", "index", "interval", "from", "to", "max_signals",
    "enabled", "metadata.updated_date", "metadata.maturity", "metadata.min_stack_version", "alert_suppression",
    "timestamp_override", "data_view_id", "building_block_type", "saved_id", "anomaly_threshold",
    "machine_learning_job_id", "threat_query", "threat_index", "history_window_start",
})  # fmt: skip
"""Keys whose values are shown; of others only that they differ."""
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def diff_rules(settings: Settings, old: str, new: str, *, exit_code: bool) -> ExitCode:
    """Print the differences; FINDINGS if there are some and `exit_code` is wanted."""
    before, after = _loaded(old), _loaded(new)
    found = compare_rules(before, after)
    if settings.output == "json":
        print_json(_as_json(found))
    else:
        _print(found)
    return ExitCode.FINDINGS if exit_code and found else ExitCode.FINE


def _loaded(name: str) -> LoadedRules:
    """The rules of a file, folder or archive, with paths from there on."""
    path = Path(name).expanduser()
    if not path.exists():
        raise SettingsError(f"{name}: no such file or folder")
    with ExitStack() as closing:
        top = path
        if is_archive(path):
            top = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="rule-runner-diff-")))
            unpack_rules(path, top)
        loaded = load_rules([top])
        if not loaded.known:
            raise SettingsError(f"{name}: no rules in there")
        if errors := loaded.errors:
            first = str(errors[0]).replace(str(top), name)
            warn(f"{name}: {counted(len(errors), 'error')}, not compared what is broken; the first: {first}")
        return loaded if top is path else _below(loaded, top)


def _below(loaded: LoadedRules, top: Path) -> LoadedRules:
    """The rules with paths from a folder on."""

    def moved(rules: Sequence[Rule]) -> tuple[Rule, ...]:
        return tuple(rule.model_copy(update={"path": rule.path.relative_to(top)}) for rule in rules)

    return replace(
        loaded,
        rules=moved(loaded.rules),
        unsupported=moved(loaded.unsupported),
        deprecated=moved(loaded.deprecated),
    )


def _as_json(found: RuleSetDiff) -> dict[str, Any]:
    kinds = {"new": found.new, "gone": found.gone, "deprecated": found.deprecated, "back": found.back}
    return {
        **{kind: [_rule_json(rule) for rule in rules] for kind, rules in kinds.items()},
        "changed": [
            {
                **_rule_json(one.after),
                "keys": {key: {"before": plain(old), "after": plain(new)} for key, (old, new) in one.keys.items()},
                "query_diff": one.query_diff(),
            }
            for one in found.changed
        ],
        "unchanged": found.unchanged,
    }


def _rule_json(rule: Rule) -> dict[str, str]:
    return {
        "rule_id": rule.rule_id,
        "name": rule.name,
        "type": rule.type,
        "severity": rule.severity,
        "file": str(rule.path),
    }


def _print(found: RuleSetDiff) -> None:
    kinds = {"new": found.new, "gone": found.gone, "deprecated": found.deprecated, "no longer deprecated": found.back}
    for kind, rules in kinds.items():
        if rules:
            out().print(Text(f"{kind}: {counted(len(rules), 'rule')}", style="bold"))
        for rule in rules:
            _line(f"  {rule.name} ({rule.type}, {rule.severity}), {rule.rule_id}")
    if found.changed:
        out().print(Text(f"changed: {counted(len(found.changed), 'rule')}", style="bold"))
    for one in found.changed:
        _line(f"  {one.after.name}, {one.after.rule_id}")
        for text in _changes(one):
            _line(f"    {text}")
        for line in one.query_diff():
            _line(f"    {line}", _DIFF_STYLES.get(line[:1], ""))
    parts = [f"{len(rules):,} {kind}" for kind, rules in kinds.items()]
    say(f"{', '.join(parts)}, {len(found.changed):,} changed, {found.unchanged:,} as before")


def _changes(one: ChangedRule) -> Iterator[str]:
    """The keys that differ, but the query's, with their values if these are short."""
    for key, (old, new) in one.keys.items():
        if key in _SHOWN:
            yield f"{key}: {value_text(old)} -> {value_text(new)}"
    others = [key for key in one.keys if key not in _SHOWN and key != "query"]
    if others:
        yield f"also: {', '.join(others)}"


def _line(text: str, style: str = "") -> None:
    out().print(Text(printable(text), style=style), soft_wrap=True)
