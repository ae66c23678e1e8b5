"""The rules in use: loaded from their files, compiled, and checked by the search that runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Problem
from runner.rules.load import LoadedRules, reload
from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule, compile_rules
from runner.search.protocol import Search


@dataclass(frozen=True, slots=True)
class ActiveRules:
    """The rules that can be run, and every problem of the files and of the queries."""

    loaded: LoadedRules = field(default_factory=LoadedRules)
    compiled: tuple[CompiledRule, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(compiled.rule for compiled in self.compiled)

    @property
    def disabled(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.loaded.rules if not rule.enabled)


async def load_active(paths: Sequence[Path], search: Search, previous: ActiveRules | None = None) -> ActiveRules:
    """The rules of the paths as they are now, checked by the search; `previous` itself if no file changed.

    A rule whose query was broken by an edit stays in its last good version, and the problem says so.
    """
    before = previous or ActiveRules()
    loaded = await asyncio.to_thread(reload, before.loaded, paths)
    if previous is not None and loaded == before.loaded:
        return previous
    wanted = [rule for rule in loaded.rules if rule.enabled]
    compiled, problems = await asyncio.to_thread(compile_rules, wanted, before.compiled)
    problems += await search.prepare(compiled)
    broken = {problem.rule_id for problem in problems if problem.severity == "error"}
    last_good = {old.rule.rule_id: old for old in before.compiled if old.rule.rule_id in broken}
    good = {new.rule.rule_id: new for new in compiled if new.rule.rule_id not in broken} | last_good
    in_use = tuple(good[rule.rule_id] for rule in wanted if rule.rule_id in good)
    if last_good:
        await search.prepare(in_use)  # what was searched for these rules before is searched for again
        kept = "; the last good version of the rule stays in use"
        problems = [replace(p, message=p.text + kept, hint="") if p.rule_id in last_good else p for p in problems]
    order = {rule.rule_id: position for position, rule in enumerate(wanted)}
    problems.sort(key=lambda problem: order.get(problem.rule_id or "", -1))
    return ActiveRules(loaded, in_use, (*loaded.problems, *problems))
