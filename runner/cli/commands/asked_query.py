"""What `search` asks: a query or that of a rule, and what is excepted of its answer."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from runner import eql
from runner.cli.console import counted, err, print_json, print_table, say, show_problem, warn
from runner.cli.exit_codes import ExitCode
from runner.cli.locations import require_exceptions, require_rule_paths, rule_sources
from runner.cli.pages.hit_table import empty_columns, hit_table
from runner.cli.rule_choice import chosen
from runner.clock import SystemClock
from runner.errors import SettingsError
from runner.exceptions import ExceptionItem, Exceptions, load_exceptions
from runner.exceptions.item_verdict import item_label
from runner.kql.search_api import parse_text
from runner.messages.query_doubts import lost_backslashes, text_doubts
from runner.messages.query_errors import QueryError
from runner.messages.suggestions import did_you_mean
from runner.messages.text_positions import Source
from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule, compile_rule
from runner.search.files.excepted_answer import ExceptedAnswer
from runner.search.files.file_search import FileSearch
from runner.service.rules_in_use import load_active
from runner.settings.settings import Settings

DEFAULT_INDEX = "logs-endpoint.events.*"
_BEGINS_WITH_TIME = re.compile(r"@timestamp\s*[:<>]")
_FILE_ENDINGS = (".toml", ".eql", ".kql", ".txt", ".lucene")
_FEW = 10
"""Exceptions that are named although they left out nothing."""


_REMARKS = {
    "new_terms": "a rule of type new_terms: shown are all events that its query finds; --explain says what is new",
    "threshold": "a rule of type threshold: shown are the events that it counts; --explain says which are enough",
}


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """A query with its options, and what is excepted of its answer at the time `now`; `rule` if it is a rule's."""

    text: str
    options: eql.SearchOptions
    index: tuple[str, ...]
    now: datetime
    exceptions: tuple[ExceptionItem, ...] = ()
    rule: Rule | None = None
    language: str = "eql"
    remark: str = ""
    """What the answer is not, for rules that make something of the events that their query finds."""
    columns: tuple[str, ...] | None = None
    """The fields of a table of the matches; empty: those that the events' categories have; None: the answer as JSON."""
    code: ExitCode = ExitCode.FINE
    """FINDINGS if a file of exceptions has an error, so that something may be missing among them."""

    def with_columns(self, columns: tuple[str, ...] | None) -> AskedQuery:
        return replace(self, columns=columns)

    def compiled(self) -> CompiledRule:
        """The query as a rule with the exceptions. Raises QueryError."""
        options = self.options
        fields = {
            "query": self.text,
            "index": self.index,
            "event_category_override": options.event_category_field,
            "timestamp_field": options.timestamp_field,
            "tiebreaker_field": options.tiebreaker_field,
        }
        named = {"rule_id": "search", "name": "search", "description": "search", "severity": "low", "risk_score": 0}
        kind = {"type": "eql" if self.language == "eql" else "query", "language": self.language}
        rule = self.rule or Rule.model_validate({**named, **kind})
        return replace(compile_rule(rule.model_copy(update=fields)), exceptions=self.exceptions)


def asked_query(
    settings: Settings,
    query: str | None,
    rule: str | None,
    options: eql.SearchOptions,
    *,
    index: str,
    language: str = "eql",
) -> AskedQuery:
    """The query that the arguments name, a rule's in the rule's language. Raises SettingsError.

    Exceptions apply to a query if `--exceptions` names some: those for all rules; to a rule as in its runs.
    """
    if rule is None and query is None:
        raise SettingsError("nothing to search for: name a QUERY, or a rule with --rule; --help shows more")
    now = SystemClock().now()
    if rule is not None:
        if query is not None:
            raise SettingsError("--rule takes the query of a rule: leave QUERY out")
        return _of_rule(settings, rule, options, index, now=now)
    if query == "@-" and "-" in settings.events:
        raise SettingsError("standard input holds the query (@-) or the events (--events -), not both")
    text = query_text(query or "", language)
    _tell_doubts(text, language)
    asked = AskedQuery(text, options, (index,), now, language=language)
    if not settings.is_flag("exceptions"):
        return asked
    exceptions = load_exceptions(require_exceptions(settings, settings.exceptions))
    in_force = [item for item in exceptions.items if not item.is_over(now)]
    general = tuple(item for item in in_force if item.all_rules)
    if len(general) < len(in_force):
        others = counted(len(in_force) - len(general), "exception")
        say(f"{others} for certain rules left aside: --rule takes the query of a rule, and its exceptions")
    return replace(asked, exceptions=general, code=_told(exceptions))


def table_columns(columns: str | None, output: str | None) -> tuple[str, ...] | None:
    """The fields of the table that is asked for, empty for the usual ones; None: no table. Raises SettingsError.

    A terminal gets a table, anything else the answer as JSON.
    """
    if output not in (None, "table", "json"):
        raise SettingsError(f"--output {output}: expected table or json")
    if output == "json":
        if columns is not None:
            raise SettingsError("--columns makes a table: leave --output json out")
        return None
    if columns is None:
        return () if output == "table" or sys.stdout.isatty() else None
    if columns == "usual":
        return ()
    names = tuple(name.strip() for name in columns.split(","))
    if not all(names):
        raise SettingsError(f"--columns {columns}: expected names of fields between commas, or usual")
    return names


def print_answer(asked: AskedQuery, answer: Mapping[str, Any]) -> None:
    """Print the answer as JSON, or its events as a table if that is wanted."""
    if asked.columns is None:
        print_json(answer)
        return
    rows = hit_table(answer, asked.columns)
    if rows is None:
        say("no matches")
    else:
        print_table(rows)
    for name, fields in empty_columns(answer, asked.columns):
        say(f"no match has the field {name}{did_you_mean(name, fields)}")


def _tell_doubts(text: str, language: str) -> None:
    """Print what is doubtful in a query that can be parsed; the error about another one says it, too."""
    try:
        eql.parse(text) if language == "eql" else parse_text(text, language)
    except QueryError:
        return
    for finding in (*text_doubts(text, language), *lost_backslashes(text, language)):
        line, column = Source(text).place(finding.span.start)
        warn(f"query:{line}:{column}: {finding.text}")


def _of_rule(settings: Settings, name: str, options: eql.SearchOptions, index: str, *, now: datetime) -> AskedQuery:
    require_rule_paths(settings)
    active = asyncio.run(load_active(rule_sources(settings), FileSearch(()), at=now))
    found = chosen(active, [name]).compiled
    if len(found) != 1:
        raise SettingsError(f"--rule {name}: {counted(len(found), 'rule')}, expected one")
    (compiled,), usual = found, eql.SearchOptions()
    if not compiled.is_local:
        kind = compiled.rule.type
        raise SettingsError(
            f"--rule {name}: `search` asks queries in EQL, KQL and Lucene's syntax; what a rule of type {kind} finds "
            f"in a cluster, `once --rule {name} --force` shows"
        )
    rule = compiled.rule
    if compiled.withheld:
        raise SettingsError(f"--rule {name}: {compiled.withheld}")
    own = {
        "event_category_field": rule.event_category_override,
        "timestamp_field": rule.timestamp_field,
        "tiebreaker_field": rule.tiebreaker_field,
    }
    taken: dict[str, Any] = {
        key: value for key, value in own.items() if value and getattr(options, key) == getattr(usual, key)
    }
    return AskedQuery(
        rule.query,
        replace(options, **taken),
        rule.index if index == DEFAULT_INDEX else (index,),
        now,
        compiled.exceptions,
        rule,
        rule.language,
        _REMARKS.get(rule.type, ""),
        code=_told(active.exceptions),
    )


def query_text(query: str, language: str = "eql") -> str:
    """The query itself, or the text of the file that `@FILE` names, of standard input for `@-`. Raises SettingsError.

    In KQL and Lucene's syntax a query may begin with `@timestamp`, which is no file.
    """
    if not query.startswith("@") or (language != "eql" and _BEGINS_WITH_TIME.match(query)):
        if query.endswith(_FILE_ENDINGS) and not re.search(r"\s", query) and Path(query).is_file():
            cure = f"--rule {query}" if query.endswith(".toml") else f"@{query}"
            raise SettingsError(f"{query} is the name of a file, not a query: its query is searched with {cure}")
        return query
    try:
        return sys.stdin.read() if query == "@-" else Path(query[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"query file {query[1:]}: {error}") from None


def _told(exceptions: Exceptions) -> ExitCode:
    for problem in exceptions.problems:
        show_problem(problem, err())
    is_broken = any(problem.severity == "error" for problem in exceptions.problems)
    return ExitCode.FINDINGS if is_broken else ExitCode.FINE


def tell_refused(left_out: ExceptedAnswer) -> None:
    """Print which exceptions remove nothing, or everything."""
    for refused in (*left_out.of_events.refused, *left_out.of_alerts.refused):
        warn(str(refused.problem()))
    for item in left_out.of_events.hits_all:
        warn(f"exception {item_label(item)} hits every event: nothing is found")


def tell_left_out(
    items: Sequence[ExceptionItem], events: Mapping[ExceptionItem, int], matches: Mapping[ExceptionItem, int]
) -> None:
    """Print how much each exception has left out."""
    idle = [item for item in items if not events.get(item) and not matches.get(item)]
    for item in items:
        found = (counted(events.get(item, 0), "event"), counted(matches.get(item, 0), "match", "matches"))
        if item not in idle or len(idle) <= _FEW:
            say(f"exception {item_label(item)} left out {found[item.scope == 'alert']}")
    if len(idle) > _FEW:
        say(f"{counted(len(idle), 'other exception')} left out nothing")
