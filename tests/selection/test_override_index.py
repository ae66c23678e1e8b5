"""Which overrides cover which rule: as one finds them by looking at each of them, in their order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.exceptions.item import FilePlace
from runner.rules.rule import Rule
from runner.selection.criteria import RuleFacts
from runner.selection.expression import read_selection
from runner.selection.override import RuleOverride
from runner.selection.override_index import OverrideIndex, winners
from tests.search.lab import rule

TERMS = st.sampled_from(
    ["id:a", "id:A,b", "id:?", "name:b", "rule:a,c", "rule:B*", "tag:x", "tag:X,y", "tag:*", "severity:low", "path:**",
     "+tag:y", "-tag:x", "+id:b", "-name:c", "maturity:deprecated"]
)  # fmt: skip
TEXTS = st.lists(TERMS, max_size=3).map(" ".join)
VALUES = st.dictionaries(st.sampled_from(["severity", "enabled", "note"]), st.just("v"), min_size=1)
OVERRIDES = st.lists(st.builds(RuleOverride, TEXTS.map(read_selection), VALUES, st.just(FilePlace())), max_size=12)
RULES = st.builds(
    lambda rule_id, name, tags, severity: rule(rule_id=rule_id, name=name, tags=tags, severity=severity),
    st.sampled_from("abc"), st.sampled_from("bBc"), st.lists(st.sampled_from("xXyz"), max_size=2).map(tuple),
    st.sampled_from(["low", "high"]),
)  # fmt: skip


@settings(max_examples=50)
@given(OVERRIDES, RULES)
def test_an_override_is_found_if_and_only_if_it_covers_the_rule(overrides: list[RuleOverride], of: Rule) -> None:
    facts = RuleFacts(of)
    covering = OverrideIndex(overrides).covering(facts)
    expected = [override for override in overrides if override.selection.covers(facts)]
    assert list(map(id, covering)) == list(map(id, expected))
    for name, override in winners(covering).items():
        assert override is [one for one in expected if name in one.values][-1]
