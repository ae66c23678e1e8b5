"""The words of analysed texts: as written here, and as the standard analyser of a real node makes them."""

from __future__ import annotations

import pytest
from elasticsearch import Elasticsearch
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.events.fields.words import words

CASES = {
    "The Quick-Brown fox's 2nd": ["the", "quick", "brown", "fox's", "2nd"],
    "foo:bar a.b a.1 1.a 1.5 1,5 1;5": ["foo:bar", "a.b", "a", "1", "1", "a", "1.5", "1,5", "1;5"],
    "a_b _a_ __ _1 a_1.5 1foo.2": ["a_b", "_a_", "_1", "a_1.5", "1foo", "2"],
    "C:\\Windows\\cmd.exe /usr/bin/x.sh": ["c", "windows", "cmd.exe", "usr", "bin", "x.sh"],
    "...": [],
    "": [],
    "İI ΣΑΣ Straße e\u0301a": ["ii", "σασ", "straße", "e\u0301a"],
    "日本 テスト ひら 한국어": ["日", "本", "テスト", "ひ", "ら", "한국어"],
    "²³ ½ x😀y": ["x", "😀", "y"],
    "a‘b a’b a·b a\u00adb": ["a‘b", "a’b", "a·b", "a\u00adb"],
    "א\"ב א'": ['א"ב', "א'"],
    "x" * 300: ["x" * 255, "x" * 45],
}


@pytest.mark.parametrize("text", CASES)
def test_words(text: str) -> None:
    assert words(text) == CASES[text]


def test_words_are_those_of_the_standard_analyser(elasticsearch_url: str) -> None:
    pieces = (*"aZ1_.,:;'-/\\ é", "ß", "’", "日", "カ", "ひ", "א", '"', "\u0301", "😀", "한", "bc", "12")
    with Elasticsearch(elasticsearch_url) as client:

        @settings(max_examples=150, deadline=None)
        @given(st.lists(st.sampled_from(pieces), max_size=12).map("".join))
        def same(text: str) -> None:
            answer = client.indices.analyze(analyzer="standard", text=text)
            assert words(text) == [token["token"] for token in answer["tokens"]]

        for text, expected in CASES.items():
            answer = client.indices.analyze(analyzer="standard", text=text)
            assert [token["token"] for token in answer["tokens"]] == expected
        same()
