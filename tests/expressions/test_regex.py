"""Regular expressions: the cases of `specs/expressions/regex.txt`, agreement with Python's `re`, hostile patterns."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.expressions.patterns.lucene_regex import java_matcher, matcher
from tests.paths import SPECS

MATCHERS = {"lucene": matcher, "java": java_matcher}


def sections() -> list[tuple[str, list[Any]]]:
    found: list[tuple[str, list[Any]]] = []
    section = ""
    file = SPECS / "expressions" / "regex.txt"
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("[") and not line.startswith('["'):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            found.append((section, json.loads(line)))
    return found


CASES = [(section, *case) for section, case in sections() if "errors" not in section]
ERRORS = [(section.split()[0], *case) for section, case in sections() if "errors" in section]


@pytest.mark.parametrize(("section", "pattern", "text", "fits"), CASES)
def test_a_text_fits_or_not(section: str, pattern: str, text: str, fits: bool) -> None:
    match = MATCHERS[section.rstrip("~")]([pattern], section.endswith("~"))
    assert match(text) is fits
    assert match(text) is fits, "the second time on the states that the first one made"


@pytest.mark.parametrize(("dialect", "pattern", "message"), ERRORS)
def test_a_wrong_pattern_is_refused_with_its_place(dialect: str, pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        MATCHERS[dialect]([pattern], False)


LETTERS = st.sampled_from(["a", "b", "A", "\\.", ".", "[ab]", "[^a]", "[a-b1-3]", "\\d", "\\w", "1"])


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{2,}", "{0,3}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    )


COMMON = st.recursive(LETTERS, combined, max_leaves=8)
TEXTS = st.text(alphabet="abAB1.é", max_size=8)


@settings(max_examples=300)
@given(COMMON, st.lists(TEXTS, min_size=1, max_size=8))
def test_both_dialects_agree_with_python_on_what_they_share(pattern: str, texts: list[str]) -> None:
    expected = [re.fullmatch(pattern, text, re.ASCII) is not None for text in texts]
    assert list(map(matcher([pattern], False), texts)) == expected
    assert list(map(java_matcher([pattern], False), texts)) == expected


@settings(max_examples=200)
@given(COMMON, TEXTS)
def test_case_is_ignored_in_java_as_in_python(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE) is not None
    assert java_matcher([pattern], True)(text) is expected


@settings(max_examples=200)
@given(COMMON, COMMON, TEXTS)
def test_complement_and_intersection_are_those_of_the_answers(one: str, other: str, text: str) -> None:
    first, second = matcher([one], False)(text), matcher([other], False)(text)
    assert matcher([f"~({one})"], False)(text) is not first
    assert matcher([f"({one})&({other})"], False)(text) is (first and second)
    assert matcher([f"~(~({one})&~({other}))"], False)(text) is (first or second)
    assert matcher([one, other], False)(text) is (first or second)


@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(0, 1600), st.integers(0, 2))
def test_an_interval_holds_the_numbers_between_its_bounds(low: int, high: int, number: int, zeros: int) -> None:
    text = "0" * zeros + str(number)
    inside = min(low, high) <= number <= max(low, high)
    fixed = len(str(low)) == len(str(high))
    expected = inside and (not fixed or len(text) == len(str(low)))
    assert matcher([f"<{low}-{high}>"], False)(text) is expected


@given(st.text(alphabet="abB^$ \n", max_size=8))
def test_anchors_and_word_boundaries_agree_with_python(text: str) -> None:
    for pattern in (r"^(a|b| )*$", r"(a|\b|B| )*", r"a*\b.*\bb", r".*\Ba\B.*", r"(^a|b$|.)*"):
        expected = "\n" not in text and re.fullmatch(pattern, text, re.ASCII) is not None
        if "\n" not in text:
            assert java_matcher([pattern], False)(text) is expected


@pytest.mark.parametrize(
    "pattern", ["(a|aa)+b", "(a*)*b", "(a+a+)+b", "((a?){100}){100}b", "(.*a.*b.*c){30}b", "(.*)*" * 60 + "b"]
)
def test_a_pattern_that_backtracks_for_ever_elsewhere_is_answered(pattern: str) -> None:
    assert not matcher([pattern], False)("a" * 5000 + "cbba")
    assert not java_matcher([pattern], False)("a" * 5000 + "ca")


@pytest.mark.parametrize("pattern", [".*a.{16}b", ".*a.{300}b", "~(.*a.{14}b)", "(.*a.{5}&.*b.{7})*b"])
def test_a_pattern_that_needs_too_many_states_is_refused(pattern: str) -> None:
    text = "".join(random.Random(1).choices("abc", k=60_000)) + "b"
    match = matcher([pattern], False)
    for _ in range(2):
        with pytest.raises(ValueError, match="too complex"):
            match(text)


@pytest.mark.parametrize(
    "pattern", ["(" * 2000 + ")" * 2000, "[" * 2000, "(?:" * 2000, "a" + "{2}" * 2000, "~" * 2000 + "a"]
)
def test_deep_nesting_is_an_error_or_an_answer_but_no_crash(pattern: str) -> None:
    for make in (matcher, java_matcher):
        try:
            answer = make([pattern], False)("a")
        except ValueError as error:
            assert re.search("in one another|nested too deeply|Dangling|Unclosed|expected|Illegal|invalid", str(error))
        else:
            assert answer in (True, False)
