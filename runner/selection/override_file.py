"""`OverrideFile`: what one `overrides.toml` holds: `[[override]]`, `[[replace]]` and `[[allow]]` tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from runner.errors import Problem
from runner.exceptions.exception_file import TomlLocator
from runner.exceptions.item import FilePlace
from runner.exceptions.tables import Findings, Table
from runner.messages.suggestions import did_you_mean
from runner.rules.date_math import read_duration
from runner.rules.discovery import Stamp, reason
from runner.rules.load import RuleReplacement
from runner.rules.model_errors import findings_of, shortened
from runner.rules.rule import RuleFields
from runner.rules.rule_tables import AlertSuppression, SuppressionDuration
from runner.rules.toml_file import decoded, parsed_toml, read_bytes
from runner.selection.criteria import KEYS, RuleCriterion
from runner.selection.expression import RuleSelection, SelectionError, criterion_of, joined, read_selection
from runner.selection.override import RuleOverride

PLAIN_KEYS = ("enabled", "severity", "risk_score", "interval", "from", "max_signals", "index", "note", "setup")
"""Keys with the names, types and bounds that they have in a rule file."""
CHANGING = (*PLAIN_KEYS, "look_back", "suppression")
SELECTING = ("rules", "tags", "select", "all_rules")
_TABLES = ("override", "replace", "allow")
_OVERRIDE = "[[override]]"
_SELECT = "[override.select]"
_STRATEGIES = ("suppress", "doNotSuppress")
_A_RULE = {"rule_id": "r", "name": "r", "description": "r", "type": "query", "severity": "low", "risk_score": 1}
_NO_STAMP: Stamp = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class StatedReplacement:
    """One `[[replace]]`, and where it stands."""

    replacement: RuleReplacement
    place: FilePlace
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StatedAllowance:
    """One `[[allow]]`: the codes of findings that may stand, of the selected rules and of some names; and where it
    stands. The files of overrides know no codes: `check` does."""

    codes: tuple[str, ...]
    selection: RuleSelection
    place: FilePlace
    about: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OverrideFile:
    """The sound overrides and replacements of a file, and its problems."""

    path: Path
    stamp: Stamp
    overrides: tuple[RuleOverride, ...] = ()
    replacements: tuple[StatedReplacement, ...] = ()
    problems: tuple[Problem, ...] = ()
    allowances: tuple[StatedAllowance, ...] = ()

    @property
    def is_broken(self) -> bool:
        """Whether something in it costs an override."""
        return any(problem.severity == "error" for problem in self.problems)


def read_override_file(path: Path, *, named: bool = True) -> OverrideFile:
    """What one file holds; that it is no file of overrides is an error if it was `named`, else a warning."""
    try:
        data, stamp = read_bytes(path)
    except (OSError, ValueError) as error:
        return OverrideFile(path, _NO_STAMP, problems=(_whole(path, f"cannot be read: {reason(error)}"),))
    if not data.strip():
        return OverrideFile(path, stamp)
    text, trouble = decoded(path, data, expected="override")
    if trouble is None:
        document, trouble = parsed_toml(path, text, expected="override")
    if trouble is not None:
        return OverrideFile(path, stamp, problems=(trouble,))
    findings = Findings(TomlLocator(path, text))
    top = Table(document, (), findings, "the file")
    if document and not named and not any(key in document for key in _TABLES):
        near = did_you_mean(next(iter(document)), _TABLES)
        message = f"no [[override]] and no [[replace]]: this is no file of overrides, passed over{near}"
        findings.add((), message, severity="error" if near else "warning", code="no-override")
        return OverrideFile(path, stamp, problems=tuple(findings.problems))
    top.keys(_TABLES)
    overrides = list(_sound(top.tables("override", _OVERRIDE), _override, findings))
    replacements = list(_sound(top.tables("replace", "[[replace]]"), _replacement, findings))
    allowances = tuple(_sound(top.tables("allow", "[[allow]]"), _allowance, findings))
    problems = sorted(dict.fromkeys(findings.problems), key=lambda problem: (problem.line, problem.column))
    return OverrideFile(path, stamp, tuple(overrides), tuple(replacements), tuple(problems), allowances)


def _whole(path: Path, message: str) -> Problem:
    return Problem(path, 0, 0, "error", message, code="unreadable-file")


def _sound(tables: list[Table], read: Any, findings: Findings) -> Iterator[Any]:
    """What the tables hold, without those that have a problem."""
    for table in tables:
        before = findings.errors()
        found = read(table)
        if findings.errors() == before:
            yield found


def _override(table: Table) -> RuleOverride:
    before = table.findings.errors()
    _known_keys(table)
    is_known = table.findings.errors() == before
    selection = _selection(table)
    values = _plain_values(table) | _look_back(table)
    if "suppression" in table:
        values["alert_suppression"] = _suppression(table)
    if is_known and not any(key in table for key in CHANGING):
        message = f"[[override]] changes nothing, expected one of {', '.join(CHANGING)}"
        table.findings.add(table.path, message, at="key")
    place = table.findings.place
    written = {"from_": "look_back" if "look_back" in table else "from", "alert_suppression": "suppression"}
    selecting = [key for key in SELECTING if key in table]
    places = {name: place((*table.path, written.get(name, name)), "key") for name in (*values, *selecting)}
    return RuleOverride(selection, values, place(table.path, "key"), table.text("reason"), places)


def _known_keys(table: Table) -> None:
    known = (*SELECTING, *CHANGING, "reason")
    for key in table.value:
        if key in known:
            continue
        if key in KEYS:
            message = f'`{key}` selects rules; it belongs in `select`, as in select = {{ {key} = "..." }}'
        elif key == "query":
            message = (
                "the query of a rule is not overridden: put a copy of the rule in a folder of your own, [[replace]]"
            )
        else:
            message = f"unknown key `{shortened(str(key))}` in {_OVERRIDE}{did_you_mean(str(key), known)}"
        table.findings.add((*table.path, key), message, at="key", code="unknown-key")


def _selection(table: Table) -> RuleSelection:
    """The rules that are meant: those that all of the selecting keys fit."""
    given = [key for key in SELECTING if key in table]
    if not given:
        message = f"no rules are named in {_OVERRIDE}, expected one of {', '.join(SELECTING)}"
        table.findings.add(table.path, message, at="key")
    parts = []
    if table.flag("all_rules") and len(given) > 1:
        table.findings.add((*table.path, given[0]), f"`{given[0]}` beside `all_rules = true`: it is one or the other")
    elif "all_rules" in table and table.value["all_rules"] is False:
        message = "`all_rules` is false: name rules with `rules`, `tags` or `select` instead"
        table.findings.add((*table.path, "all_rules"), message)
    for key in ("rules", "tags"):
        if values := table.texts(key):
            criterion = _criterion(table, key, values)
            parts += [] if criterion is None else [RuleSelection((criterion,))]
    select = table.value.get("select")
    if isinstance(select, str):
        parts.append(_expression(table, select))
    elif isinstance(select, Mapping):
        inner = Table(select, (*table.path, "select"), table.findings, _SELECT)
        if not select:
            table.findings.add(inner.path, "`select` is empty", at="key")
        found = [_criterion(inner, key, values) for key in select if (values := inner.texts(key))]
        parts.append(RuleSelection(tuple(criterion for criterion in found if criterion is not None)))
    elif select is not None:
        table.wrong("select", 'an expression such as "os:linux severity:low", or a table such as { os = "linux" }')
    return joined(parts)


def _criterion(table: Table, key: str, values: tuple[str, ...]) -> RuleCriterion | None:
    try:
        return criterion_of(key, values)
    except SelectionError as error:
        is_key = str(error).startswith("rules are not selected")
        table.findings.add((*table.path, key), str(error), at="key" if is_key else "value")
        return None


def _expression(table: Table, text: str) -> RuleSelection:
    try:
        found = read_selection(text)
    except SelectionError as error:
        table.findings.add((*table.path, "select"), f"`select`: {error}")
        return RuleSelection()
    if not found:
        table.findings.add((*table.path, "select"), "`select` is empty; `all_rules = true` means all rules")
    return found


def _plain_values(table: Table) -> dict[str, Any]:
    """The values of the keys that a rule file has, by their attributes; checked as those of a rule file."""
    given = {key: table.value[key] for key in PLAIN_KEYS if key in table}
    try:
        checked = RuleFields.model_validate({**_A_RULE, **given})
    except ValidationError as error:
        for finding in findings_of(error, {"rule": given}):
            table.findings.add((*table.path, *finding.path[1:]), finding.message, at=finding.at)
        return {}
    for key in ("note", "setup"):
        table.text(key)  # not blank
    return {_attribute(key): getattr(checked, _attribute(key)) for key in given}


def _attribute(key: str) -> str:
    return "from_" if key == "from" else key


def _look_back(table: Table) -> dict[str, timedelta]:
    if "look_back" not in table:
        return {}
    if "from" in table:
        message = "`look_back` beside `from`: both say where the window begins; keep one"
        table.findings.add((*table.path, "look_back"), message, at="key")
    length = _duration(table, "look_back")
    return {} if length is None else {"from_": length}


def _duration(table: Table, key: str) -> timedelta | None:
    """The length of time of a key; None, with a finding, if there is none."""
    text = table.text(key)
    if not text.strip():
        return None
    try:
        length = read_duration(text)
    except ValueError as error:
        table.findings.add((*table.path, key), f"`{key}`: {error}")
        return None
    if length <= timedelta(0) or length % timedelta(seconds=1):
        table.findings.add((*table.path, key), f"`{key}` is `{shortened(text)}`, expected one second or more")
        return None
    return length


_LONGEST = timedelta(days=36_500)


def _suppression(table: Table) -> AlertSuppression | None:
    """The suppression to be; None for `false`, which ends that of the rule."""
    if table.value["suppression"] is False:
        return None
    if not isinstance(table.value["suppression"], Mapping):
        table.wrong("suppression", 'a table such as { group_by = ["host.id"], duration = "1h" }, or false')
        return None
    inner = Table(table.value["suppression"], (*table.path, "suppression"), table.findings, "[override.suppression]")
    inner.keys(("group_by", "duration", "missing_fields"))
    fields = inner.texts("group_by")
    if len(fields) > 3:
        inner.findings.add((*inner.path, "group_by"), f"`group_by` has {len(fields)} items, expected 3 or fewer")
    if "group_by" not in inner and "duration" not in inner:
        inner.needed("group_by")
    length = _duration(inner, "duration")
    if length is not None and length > _LONGEST:
        inner.findings.add((*inner.path, "duration"), f"`duration` is longer than {_LONGEST.days:,} days")
        length = None
    strategy = inner.choice("missing_fields", _STRATEGIES, "suppress")
    return AlertSuppression(
        group_by=tuple(field for field in fields if field.strip())[:3],
        duration=None if length is None else _in_kibana_units(length),
        missing_fields_strategy="suppress" if strategy == "suppress" else "doNotSuppress",
    )


def _in_kibana_units(length: timedelta) -> SuppressionDuration:
    seconds = int(length.total_seconds())
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return SuppressionDuration(value=seconds // size, unit="h" if unit == "h" else "m")
    return SuppressionDuration(value=seconds, unit="s")


def _allowance(table: Table) -> StatedAllowance:
    table.keys((*SELECTING, "code", "about", "reason"))
    table.needed("code", ": the code of the findings that may stand, as `check` shows it")
    table.needed("reason", ": why they may stand")
    is_selecting = any(key in table for key in SELECTING)
    selection = _selection(table) if is_selecting else RuleSelection()
    place = table.findings.place(table.path, "key")
    return StatedAllowance(table.texts("code"), selection, place, table.texts("about"), table.text("reason"))


_KEYS_OF_REPLACE = ("with", "rules", "reason")


def _replacement(table: Table) -> StatedReplacement:
    table.keys(_KEYS_OF_REPLACE)
    table.needed("with", ": the file or folder whose rules are used in the place of others with their ids")
    rules = table.texts("rules")
    named = table.text("with")
    here = table.findings.place(table.path, "key")
    place = here.file.parent / Path(named).expanduser() if named and not _HOME.match(named) else Path(named)
    if named.strip() and not place.exists():
        table.findings.add((*table.path, "with"), f"no such file or folder: {place}")
    return StatedReplacement(RuleReplacement(place, frozenset(rules)), here, table.text("reason"))


_HOME = re.compile(r"~[^/]")
