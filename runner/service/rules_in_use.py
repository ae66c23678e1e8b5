"""The rules in use: loaded from their files, and checked by the search that runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Problem
from runner.rules.load import LoadedRules, reload
from runner.rules.rule import Rule
from runner.schedule.window_edges import reach_of
from runner.search.protocol import Reach, Search


@dataclass(frozen=True, slots=True)
class ActiveRules:
    """The rules that can be run, and every problem of the files and of the queries."""

    loaded: LoadedRules = field(default_factory=LoadedRules)
    rules: tuple[Rule, ...] = ()
    problems: tuple[Problem, ...] = ()
    reaches: Mapping[str, Reach] = field(default_factory=dict)
    """How far the matches of each rule reach in time, by rule id."""

    @property
    def told(self) -> tuple[Rule, ...]:
        """The rules of which it is known whether they are enabled: those in use, and those that are disabled."""
        return (*self.rules, *(rule for rule in self.loaded.rules if not rule.enabled))


async def load_active(paths: Sequence[Path], search: Search, previous: ActiveRules | None = None) -> ActiveRules:
    """The rules of the paths as they are now, checked by the search; `previous` itself if no file changed.

    A rule whose query was broken by an edit stays in its last good version, and the problem says so.
    """
    before = previous or ActiveRules()
    loaded = await asyncio.to_thread(reload, before.loaded, paths)
    if previous is not None and loaded == before.loaded:
        return previous
    wanted = [rule for rule in loaded.rules if rule.enabled]
    problems = list(await search.prepare(wanted))
    broken = {problem.rule_id for problem in problems if problem.severity == "error"}
    last_good = {rule.rule_id: rule for rule in before.rules if rule.rule_id in broken}
    rules = tuple(last_good.get(rule.rule_id, rule) for rule in wanted if rule.rule_id not in broken - last_good.keys())
    if last_good:
        await search.prepare(rules)  # what was searched for these rules before is searched for again
        kept = "; the last good version of the rule stays in use"
        problems = [replace(p, message=p.text + kept, hint="") if p.rule_id in last_good else p for p in problems]
    reaches = {rule.rule_id: reach_of(rule.query) for rule in rules}
    return ActiveRules(loaded, rules, (*loaded.problems, *problems), reaches)
