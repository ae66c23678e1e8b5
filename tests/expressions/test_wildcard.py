"""Wildcard patterns: the cases of `specs/expressions/wildcard.txt`, agreement with a plain matcher at random."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.expressions.patterns.wildcard import (
    any_matcher,
    equals,
    escaped_matcher,
    fold,
    java_matcher,
    matcher,
    starts_with,
)
from tests.paths import SPECS

MATCHERS = {"wildcard": matcher, "escaped": escaped_matcher, "java": java_matcher}


def cases(file: Path) -> list[tuple[str, str, str, bool]]:
    found: list[tuple[str, str, str, bool]] = []
    section = ""
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("[") and not line.startswith('["'):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            found.append((section, *json.loads(line)))
    return found


@pytest.mark.parametrize(("section", "pattern", "text", "fits"), cases(SPECS / "expressions" / "wildcard.txt"))
def test_a_text_fits_or_not(section: str, pattern: str, text: str, fits: bool) -> None:
    assert MATCHERS[section.rstrip("~")](pattern, section.endswith("~"))(text) is fits


def plain(pattern: str, text: str, one: Callable[[str], bool]) -> bool:
    """Matches by definition, a pattern character and a text character at a time."""

    @cache
    def match(i: int, j: int) -> bool:
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            return match(i + 1, j) or (j < len(text) and one(text[j]) and match(i, j + 1))
        fits = j < len(text) and (one(text[j]) if pattern[i] == "?" else pattern[i] == text[j])
        return fits and match(i + 1, j + 1)

    return match(0, 0)


PATTERNS = st.text(alphabet="ab*?\n", max_size=8)
TEXTS = st.text(alphabet="abAé\n", max_size=12)


@given(PATTERNS, TEXTS)
def test_the_fast_matcher_agrees_with_the_definition(pattern: str, text: str) -> None:
    assert matcher(pattern, False)(text) == plain(pattern, text, lambda char: True)
    assert matcher(pattern, True)(text) == plain(fold(pattern), fold(text), lambda char: True)
    if "\n" in pattern or "*" in pattern or "?" in pattern:
        assert java_matcher(pattern, False)(text) == plain(pattern, text, lambda char: char != "\n")


@given(st.lists(PATTERNS, min_size=1, max_size=4), TEXTS, st.booleans())
def test_a_list_of_patterns_is_any_of_them(patterns: list[str], text: str, insensitive: bool) -> None:
    expected = any(matcher(pattern, insensitive)(text) for pattern in patterns)
    assert any_matcher(patterns, insensitive)(text) is expected


@given(st.text(alphabet="aB*?\\", max_size=6), st.text(alphabet="abAB*?\\", max_size=8), st.booleans())
def test_terms_and_prefixes_are_literal(needle: str, text: str, insensitive: bool) -> None:
    one, other = (fold(needle), fold(text)) if insensitive else (needle, text)
    assert equals(needle, insensitive=insensitive)(text) is (one == other)
    assert starts_with(needle, insensitive=insensitive)(text) is other.startswith(one)


@given(st.text())
def test_folding_touches_ascii_letters_only(text: str) -> None:
    assert fold(text) == "".join(char.lower() if char.isascii() else char for char in text)


def test_a_hostile_pattern_takes_no_more_than_its_share() -> None:
    text = "a" * 20_000
    assert not matcher("*" + "a*" * 300 + "b", False)(text)
    assert not matcher("*" + "a?*" * 100 + "b*c", True)(text + "b")
