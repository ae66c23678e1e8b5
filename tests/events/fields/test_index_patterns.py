"""Data streams and index patterns."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runner.events.fields.index_patterns import data_stream_of, depends_on_namespace, index_selector, stream_name


@pytest.mark.parametrize(
    ("index", "stream"),
    [
        (".ds-logs-endpoint.events.process-default-2026.03.01-000001", "logs-endpoint.events.process-default"),
        ("remote:.ds-logs-a-b-2026.03.01-000123", "remote:logs-a-b"),
        ("partial-.ds-logs-a-b-2026.03.01-000123", "logs-a-b"),
        ("restored-.ds-logs-a-b-2026.03.01-000123", "logs-a-b"),
        (".ds-logs-a-b-2026.03.01-12", ".ds-logs-a-b-2026.03.01-12"),
        (".ds-logs-a-b", ".ds-logs-a-b"),
        ("logs-a-b", "logs-a-b"),
        ("", ""),
    ],
)
def test_data_streams_of_backing_indices(index: str, stream: str) -> None:
    assert data_stream_of(index) == stream


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("logs", "endpoint", "default"), "logs-endpoint-default"),
        ((None, "endpoint", None), "logs-endpoint-default"),
        ((("metrics", "x"), ("cpu", "mem"), ("a", "b")), "metrics-cpu-a"),
        (("logs", None, "default"), None),
        (((), (), ()), None),
        (("", "d", ""), "logs-d-default"),
    ],
)
def test_names_of_streams(parts: tuple[str | tuple[str, ...] | None, ...], name: str | None) -> None:
    assert stream_name(*parts) == name


@pytest.mark.parametrize(
    ("patterns", "selected", "left_out"),
    [
        (["logs-*"], ["logs-a", "logs-", ".ds-logs-a-b-2026.03.01-000001", None], ["metrics-a", "xlogs-a", "logs"]),
        (["logs-a"], ["logs-a", ".ds-logs-a-2026.03.01-000001"], ["logs-ab", "log", "Logs-a"]),
        (["logs-*", "-logs-b*"], ["logs-a"], ["logs-b", "logs-bc", ".ds-logs-b-2026.03.01-000001"]),
        (["-logs-b*"], ["-logs-bc"], ["logs-a", "logs-b"]),
        (["logs-*", "-logs-b*", "logs-bc"], ["logs-a", "logs-bc"], ["logs-b"]),
        (["logs-a, metrics-*"], ["logs-a", "metrics-x"], ["logs-b"]),
        (["*"], ["anything", "", ".hidden"], []),
        (["_all"], ["anything"], []),
        (["*", "-*-b"], ["a"], ["a-b"]),
        ([], ["anything", None], []),
        (["", " , "], ["anything"], []),
        (["a*b*c"], ["abc", "aXbYc", "abbcc"], ["acb", "ab", "abcd"]),
        (["a*a"], ["aa", "aba"], ["a"]),
        (["remote:logs-*"], ["remote:logs-a", "remote:.ds-logs-a-2026.03.01-000001"], ["logs-a", "other:logs-a"]),
        (["a.b", "a+b?"], ["a.b", "a+b?"], ["axb", "aab"]),
    ],
)
def test_index_patterns(patterns: list[str], selected: list[str | None], left_out: list[str]) -> None:
    select = index_selector(patterns)
    assert [name for name in (*selected, *left_out) if select(name)] == selected


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_star_is_any_run_of_characters(pattern: str, name: str) -> None:
    expected = re.fullmatch(fnmatch.translate(pattern), name) is not None or not pattern
    assert index_selector([pattern])(name) is expected


def test_no_pattern_can_hang() -> None:
    assert not index_selector(["*a" * 5000 + "b"])("a" * 20_000)


PARTS = st.text(alphabet="ab-.", min_size=1, max_size=4)
PATTERNS = st.lists(st.text(alphabet="ab-.", max_size=9).map(lambda text: f"{text}*"), min_size=1, max_size=3)


@settings(max_examples=500)
@given(PATTERNS, PARTS, PARTS, PARTS, PARTS)
def test_namespaces_decide_nothing_where_they_need_not_be_known(
    patterns: list[str], kind: str, dataset: str, one: str, other: str
) -> None:
    assume(not depends_on_namespace(patterns))
    selected = index_selector(patterns)
    assert selected(stream_name(kind, dataset, one)) == selected(stream_name(kind, dataset, other))


@pytest.mark.parametrize(
    ("pattern", "depends"),
    [
        ("logs-endpoint.events.*", False),
        ("logs-*", False),
        ("*", False),
        ("_all", False),
        ("auditbeat-*", False),
        ("logs-system.auth-*", False),
        ("logs-system.auth-prod*", True),
        ("logs-*-default", True),
        ("logs-endpoint.events.process-default", True),
        ("logs-*,-*-test", True),
    ],
)
def test_patterns_that_depend_on_the_namespace(pattern: str, depends: bool) -> None:
    assert depends_on_namespace([pattern]) is depends
    assert depends_on_namespace(["logs-*", pattern]) is depends
