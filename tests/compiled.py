"""Rules of tests, compiled: equal rules give the same `CompiledRule`, as a rule that did not change does."""

from __future__ import annotations

from functools import cache

from runner.rules.rule import Rule
from runner.search.compiled_rule import CompiledRule, compile_rule


@cache
def compiled(rule: Rule) -> CompiledRule:
    return compile_rule(rule)
