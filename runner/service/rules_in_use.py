"""The rules in use: loaded from their files with what is excepted of them, compiled, and checked by their search."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from runner.errors import Problem
from runner.exceptions import Exceptions, load_exceptions, missing_lists
from runner.rules.load import EventPlace, LoadedRules
from runner.rules.rule import Rule
from runner.rules.saved_queries.saved_query_rules import SavedQueries, saved_query_problems, with_saved_query
from runner.search.compiled_rule import CompiledRule, compile_rules
from runner.search.own_alerts import reads_alerts
from runner.search.protocol import Search
from runner.selection import NOTHING, RuleSelection, SelectedRules, select_rules
from runner.service.kibana.kibana_exceptions import KibanaExceptions
from runner.service.kibana.kibana_queries import KibanaQueries


@dataclass(frozen=True, slots=True)
class RuleSources:
    """Where rules, and what goes with them, are read from: files, folders, and lists in Kibana."""

    rules: tuple[Path, ...]
    exceptions: tuple[Path, ...] = ()
    """Those of exceptions; without any the folders `exceptions` in and beside those of the rules, and beside each
    folder above these that is called `rules`."""
    overrides: tuple[Path, ...] = ()
    """The files of overrides; without any those beside the rules."""
    select: RuleSelection = NOTHING
    lists: KibanaExceptions | None = None
    """The exception lists in Kibana that rules refer to; without them those of files alone count."""
    queries: KibanaQueries | None = None
    """The saved queries in Kibana, which are asked for if no file has them."""
    place: EventPlace | None = None
    """Where the rules are to search."""
    own_alerts: str = ""
    """The index of the runner's own alerts, where rules that read alerts search it, too."""

    def exception_paths(self) -> tuple[Path, ...]:
        """The files and folders of exceptions, as far as they are there now if none are named."""
        if self.exceptions:
            return self.exceptions
        folders = [path if path.is_dir() else path.parent for path in self.rules]
        beside = [above.parent for path in folders for above in path.parents if above.name == "rules"]
        places = [place / "exceptions" for path in folders for place in (path, path.parent)]
        places += [place / "exceptions" for place in beside]
        return tuple(dict.fromkeys(place for place in places if _may_be_folder(place)))

    def read(self, previous: SelectedRules | None = None) -> SelectedRules:
        """The rules with overrides and selection, as the files are now; `previous` itself if nothing changed."""
        return select_rules(self.rules, self.overrides, self.select, previous, self.place)


def _may_be_folder(path: Path) -> bool:
    """Whether something is there that is no file: a folder, or what is told as a problem."""
    try:
        return os.path.lexists(path) and not path.is_file()
    except OSError:  # a folder above that cannot be looked at: a problem of the rules
        return False


@dataclass(frozen=True, slots=True)
class ActiveRules:
    """The rules that can be run, and every problem of the files and of the queries.

    Each compiled rule has the exceptions that count for it at `as_of`, until the first of them expires.
    """

    loaded: LoadedRules = field(default_factory=LoadedRules)
    compiled: tuple[CompiledRule, ...] = ()
    problems: tuple[Problem, ...] = ()
    exceptions: Exceptions = field(default_factory=Exceptions)
    as_of: datetime | None = None
    queries: SavedQueries = field(default_factory=SavedQueries)
    """The saved queries that were read from Kibana."""
    selected: SelectedRules | None = None
    """How overrides and a selection have made `loaded` of the files."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(compiled.rule for compiled in self.compiled)

    @property
    def is_broken(self) -> bool:
        """Whether a rule cannot be run as it is written; overrides that are broken keep no rule from running."""
        changing = {file.path for file in self.selected.overrides.files} if self.selected is not None else set()
        return any(problem.severity == "error" and problem.file not in changing for problem in self.problems)

    @property
    def disabled(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.loaded.rules if not rule.enabled)


async def load_active(
    sources: RuleSources, search: Search, previous: ActiveRules | None = None, *, at: datetime
) -> ActiveRules:
    """The rules of the files as they are now, checked by the search; `previous` itself if nothing changed.

    `at` is the time of the run, by which exceptions expire. A rule whose query was broken by an edit stays in its last
    good version, and the problem says so; so does an exception. A broken exception stops no rule; a list of
    exceptions that could never be read withholds the rules that refer to it.
    """
    before = previous or ActiveRules()
    selected = await asyncio.to_thread(sources.read, before.selected)
    loaded, queries = await _with_saved_queries(selected.loaded, sources.queries)
    loaded = _with_own_alerts(loaded, sources.own_alerts)
    exceptions = await asyncio.to_thread(load_exceptions, sources.exception_paths(), before.exceptions)
    if sources.lists is not None:
        exceptions = exceptions.with_listed(await sources.lists.listed([one for one in loaded.rules if one.enabled]))
    is_unchanged = selected is before.selected and exceptions == before.exceptions and queries == before.queries
    if previous is not None and is_unchanged and not _expiry_between(exceptions, before.as_of, at):
        return previous
    wanted = [rule for rule in loaded.rules if rule.enabled]
    parsed, problems = await asyncio.to_thread(compile_rules, wanted, before.compiled)
    compiled = [excepting_at(one, exceptions, at) for one in parsed]
    problems += await search.prepare(compiled)
    broken = {problem.rule_id for problem in problems if problem.severity == "error"}
    last_good = {old.rule.rule_id: old for old in before.compiled if old.rule.rule_id in broken}
    last_good = {rule_id: excepting_at(old, exceptions, at) for rule_id, old in last_good.items()}
    good = {new.rule.rule_id: new for new in compiled if new.rule.rule_id not in broken} | last_good
    in_use = tuple(good[rule.rule_id] for rule in wanted if rule.rule_id in good)
    if last_good:
        await search.prepare(in_use)  # what was searched for these rules before is searched for again
        kept = "; the last good version of the rule stays in use"
        problems = [replace(p, message=p.text + kept, hint="") if p.rule_id in last_good else p for p in problems]
    order = {rule.rule_id: position for position, rule in enumerate(wanted)}
    problems.sort(key=lambda problem: order.get(problem.rule_id or "", -1))
    if sources.lists is None:
        problems += missing_lists(exceptions, loaded.sources)
    problems += saved_query_problems(wanted, loaded.saved.queries if sources.queries is None else queries)
    return ActiveRules(
        loaded, in_use, (*loaded.problems, *queries.problems, *problems), exceptions, at, queries, selected
    )


async def _with_saved_queries(loaded: LoadedRules, kibana: KibanaQueries | None) -> tuple[LoadedRules, SavedQueries]:
    """The rules with the saved queries that are in no file, as far as Kibana has them, and these queries."""
    missing = {rule.saved_id for rule in loaded.rules if rule.type == "saved_query" and rule.saved is None}
    if kibana is None or not missing:
        return loaded, SavedQueries()
    queries = await kibana.read(frozenset(filter(None, missing)))
    return replace(loaded, rules=tuple(with_saved_query(rule, queries) for rule in loaded.rules)), queries


def _with_own_alerts(loaded: LoadedRules, index: str) -> LoadedRules:
    """The rules that read alerts with another index of alerts, if there is one, and the others."""
    if not index or not any(reads_alerts(rule) for rule in loaded.rules):
        return loaded
    changed = (
        rule.model_copy(update={"index": (*rule.index, index)})
        if reads_alerts(rule) and rule.type != "esql" and index not in rule.index
        else rule
        for rule in loaded.rules
    )
    return replace(loaded, rules=tuple(changed))


def excepting_at(compiled: CompiledRule, exceptions: Exceptions, at: datetime) -> CompiledRule:
    """The rule with the exceptions that count for it at a time; itself if those are the ones that it has."""
    items = exceptions.for_rule(compiled.rule, at)
    withheld = compiled.rule.query_unread or exceptions.withheld(compiled.rule)
    if (items, withheld) == (compiled.exceptions, compiled.withheld):
        return compiled
    return replace(compiled, exceptions=items, withheld=withheld)


def _expiry_between(exceptions: Exceptions, before: datetime | None, now: datetime) -> bool:
    """Whether an exception counts at one of two times and not at the other."""
    return before is None or any(item.is_over(before) != item.is_over(now) for item in exceptions.items)
