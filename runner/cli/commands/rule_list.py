"""`rule-runner rules list` and `rules show`: what is in use, what applies to it, and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from runner.analyst.rule_standing import (
    RuleStanding,
    change_text,
    exceptions_json,
    standings_in,
    value_text,
)
from runner.cli.console import (
    SEVERITY_STYLES,
    counted,
    moment,
    out,
    print_json,
    print_table,
    printable,
    say,
    table,
    warn,
)
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_rule_paths, require_rules, rule_sources
from runner.cli.wiring import known_exceptions
from runner.errors import SettingsError
from runner.exceptions import ExceptionItem
from runner.messages.suggestions import did_you_mean
from runner.rules.rule import Rule
from runner.selection import (
    RuleFacts,
    RuleSelection,
    SelectedRules,
    SelectionError,
    criterion_of,
    joined,
    read_selection,
)
from runner.settings.settings import Settings

_STATE_STYLES = {"on": "green", "off": "yellow"}
_SHORTEST_ID = 4


def list_rules(
    settings: Settings, wanted: Mapping[str, Sequence[str]], select: Sequence[str], enabled: bool | None
) -> ExitCode:
    """Print all rules that meet the filters."""
    selected = _read(settings)
    selection = _selection(wanted, select)
    rows = [
        standing
        for standing in standings_in(selected)
        if selection.covers(RuleFacts(standing.rule)) and enabled in (None, standing.is_run)
    ]
    if settings.output == "json":
        broken = [{"file": str(one.file), "line": one.line, "message": one.text} for one in selected.loaded.errors]
        print_json({"rules": [standing.as_json() for standing in rows], "problems": broken})
        return ExitCode.FINE
    if rows:
        _print(rows)
    counts = Counter(standing.state for standing in rows)
    say(f"{counted(len(rows), 'rule')}: {', '.join(f'{count:,} {state}' for state, count in counts.items()) or 'none'}")
    if errors := len(selected.loaded.errors):
        warn(f"{counted(errors, 'error')} in the files of rules and overrides: `rule-runner check` shows them")
    return ExitCode.FINE


def show_rule(settings: Settings, name: str) -> ExitCode:
    """Print one rule as it is used."""
    selected = _read(settings)
    standing = _named(list(standings_in(selected)), name, selected)
    exceptions = asyncio.run(known_exceptions(settings, [standing.rule]))
    for why in exceptions.unread.values():
        warn(why)
    excepted = exceptions.all_for_rule(standing.rule)
    if settings.output == "json":
        fields = standing.rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
        fields = {key: value for key, value in fields.items() if not key.startswith("query_") and key != "path"}
        print_json(standing.as_json() | {"rule": fields, "exceptions": exceptions_json(excepted)})
    else:
        _print_one(standing, excepted)
    return ExitCode.FINE


def _read(settings: Settings) -> SelectedRules:
    require_rule_paths(settings)
    selected = rule_sources(settings).read()
    require_rules(selected.loaded, settings)
    return selected


def _selection(wanted: Mapping[str, Sequence[str]], select: Sequence[str]) -> RuleSelection:
    """The filters as one selection: each tag must be there, of the values of another key one."""
    parts = []
    try:
        for key, values in wanted.items():
            groups = [[value] for value in values] if key == "tag" else [values]
            parts += [RuleSelection((criterion_of(key, group),)) for group in groups]
    except SelectionError as error:
        raise SettingsError(f"--{key.replace('_', '-')}: {error}") from None
    for text in select:
        try:
            parts.append(read_selection(text))
        except SelectionError as error:
            raise SettingsError(f"--select {text}: at character {error.offset + 1}: {error}") from None
    return joined(parts)


def _print(rows: Sequence[RuleStanding]) -> None:
    shown = table("id", "name", "type", "severity", "state", "why", wrapped=("name", "why"))
    for standing in rows:
        rule = standing.rule
        shown.add_row(
            rule.rule_id,
            rule.name,
            rule.type,
            Text(rule.severity, style=SEVERITY_STYLES[rule.severity]),
            Text(standing.state, style=_STATE_STYLES.get(standing.state, "dim")),
            standing.reasons(),
        )
    print_table(shown)


def _named(standings: Sequence[RuleStanding], name: str, selected: SelectedRules) -> RuleStanding:
    """The rule that a name means: an id or how it begins, a name in any letter case, or a file."""
    place = Path(name).resolve()
    for found in (
        [one for one in standings if one.rule.rule_id == name],
        [one for one in standings if one.rule.name.casefold() == name.casefold()],
        [one for one in standings if one.rule.path.resolve() == place],
        [one for one in standings if len(name) >= _SHORTEST_ID and one.rule.rule_id.startswith(name)],
    ):
        if len({one.rule.rule_id for one in found}) > 1:
            ids = ", ".join(one.rule.rule_id for one in found[:3])
            raise SettingsError(f"{name}: {len(found)} rules are called so: {ids}; name one by its id")
        if found:
            return found[0]
    broken = [one for one in selected.loaded.errors if name == one.rule_id or one.file.resolve() == place]
    if broken:
        raise SettingsError(f"{name}: the rule cannot be read: {broken[0]}")
    near = did_you_mean(name, [text for one in standings for text in (one.rule.rule_id, one.rule.name)])
    raise SettingsError(f"{name}: no rule has this id, name or file{near}")


def _saved_query(rule: Rule) -> str:
    """Where the query of a rule of type saved_query comes from, as far as the files say it."""
    if rule.type != "saved_query":
        return ""
    if rule.saved is not None:
        return f"{rule.saved_id}: {rule.saved.title}, {rule.saved.file}:{rule.saved.line}"
    own = "its own query" if rule.query.strip() else "nothing, and the windows stay owed"
    return f"{rule.saved_id}: in no file beside the rules; from Kibana if KIBANA_HOST is set, else {own}"


def _print_one(standing: RuleStanding, excepted: Sequence[ExceptionItem]) -> None:
    console, rule = out(), standing.rule
    console.print(Text(printable(rule.name), style="bold"), soft_wrap=True)
    pairs = {
        "id": rule.rule_id,
        "file": str(rule.path),
        "state": f"{standing.state}{': ' if standing.why else ''}{standing.why}",
        "type": rule.type,
        "saved query": _saved_query(rule),
        "severity": f"{rule.severity}, risk score {rule.risk_score}",
        "schedule": f"every {rule.interval}, from {rule.from_} to {rule.to}",
        "max_signals": str(rule.max_signals),
        "index": ", ".join(rule.index) if rule.type not in ("esql", "machine_learning") else "",
        "suppression": value_text(rule.alert_suppression) if rule.alert_suppression is not None else "",
        "tags": ", ".join(rule.tags),
    }
    for key, value in pairs.items():
        if value:
            console.print(Text.assemble((f"  {key:<12}", "dim"), printable(value)), soft_wrap=True)
    for change in standing.changes:
        reason = f": {change.override.reason}" if change.override.reason else ""
        text = f"{change_text(change)}, by {change.override}{reason}"
        console.print(Text.assemble(("  changed     ", "yellow"), printable(text)), soft_wrap=True)
    for item in excepted:
        until = f", until {moment(item.expires)}" if item.expires is not None else ""
        text = f"{item.name}{f': {item.reason}' if item.reason else ''}{until}, {item.place}"
        console.print(Text.assemble(("  exception   ", "yellow"), printable(text)), soft_wrap=True)
    if rule.query.strip():
        console.print(Text("\n" + printable(rule.query.strip(), but="\n")), soft_wrap=True)
