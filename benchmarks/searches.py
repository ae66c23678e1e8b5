"""Searches: sets of rules over all events, from the file to the matches."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from timing import Case

from runner.rules.load import load_rules
from runner.search.compiled_rule import CompiledRule, compile_rules
from runner.search.files.file_search import FileSearch
from runner.search.protocol import SearchRequest
from runner.windows import Window

ALWAYS = Window(datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules that compile, and the processor time of loading and compiling them."""

    name: str
    rules: tuple[CompiledRule, ...]
    load_seconds: float
    compile_seconds: float

    def part(self, name: str, count: int) -> RuleSet:
        """`count` of the rules, evenly spread."""
        step = max(1, len(self.rules) // count)
        return RuleSet(name, self.rules[::step][:count], 0.0, 0.0)


def rule_set(name: str, folder: Path) -> RuleSet:
    """The EQL rules of a folder that compile."""
    started = time.process_time()
    loaded = load_rules([folder])
    load_seconds = time.process_time() - started
    rules = [rule for rule in loaded.rules if rule.language == "eql"]
    started = time.process_time()
    compiled, faults = compile_rules(rules)
    problems = [*faults, *asyncio.run(FileSearch([folder]).prepare(compiled))]
    compile_seconds = time.process_time() - started
    bad = {problem.rule_id for problem in problems if problem.severity == "error"}
    return RuleSet(name, tuple(one for one in compiled if one.rule.rule_id not in bad), load_seconds, compile_seconds)


def search_case(events: Path, rules: RuleSet) -> Case:
    """One pass of all rules, with planning but without compilation."""
    return Case(rules.name, lambda: asyncio.run(searched(str(events), rules))[1], len(rules.rules))


async def searched(events: str, rules: RuleSet) -> tuple[int, float]:
    """The count of matches of one pass, and the processor time of the compilation, in seconds."""
    search = FileSearch([events])
    started = time.process_time()
    await search.prepare(rules.rules)
    compiling = time.process_time() - started
    found = 0
    async for result in search.run([SearchRequest(rule, ALWAYS, 100) for rule in rules.rules]):
        if result.error is not None:
            raise RuntimeError(f"rule {result.request.rule.name}: {result.error}")
        found += len(result.matches)
    await search.close()
    return found, compiling
