"""Stages as a filter: what is asked, and, on a real node, that it returns every document that the engine would take."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import eql
from runner.eql.syntax.errors import EqlError
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import schema_from_field_caps, schema_from_mapping
from runner.search.cluster.stage_query import LARGEST_DEPTH, Translation, filters_for
from runner.windows import nanoseconds
from tests.paths import SPECS

NOW = nanoseconds(datetime(2026, 3, 2, 10, 9, tzinfo=UTC))
CASES = tomllib.loads((SPECS / "search/candidates.toml").read_text())["case"]
PROPERTIES: Mapping[str, Any] = {
    "@timestamp": {"type": "date"},
    "run": {"type": "keyword"},
    "k": {"type": "keyword"},
    "short": {"type": "keyword", "ignore_above": 2},
    "nil": {"type": "keyword", "null_value": "nil"},
    "w": {"type": "wildcard"},
    "t": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 3}}},
    "p": {"properties": {"name": {"type": "keyword", "fields": {"text": {"type": "match_only_text"}}}}},
    "also": {"type": "alias", "path": "k"},
    "n": {"type": "long"},
    "small": {"type": "byte", "ignore_malformed": True},
    "x": {"type": "double"},
    "single": {"type": "float"},
    "flag": {"type": "boolean"},
    "ip": {"type": "ip", "ignore_malformed": True},
    "d": {"type": "date"},
    "dn": {"type": "date_nanos"},
    "unindexed": {"type": "keyword", "index": False, "doc_values": False},
}
MAPPING = {"properties": PROPERTIES}


def translated(query: str, *, caps: Mapping[str, Any] | None = None) -> Translation:
    schema = schema_from_field_caps(caps) if caps is not None else schema_from_mapping(MAPPING)
    plan = eql.compile(query, schema).plan
    return filters_for(plan, now_ns=NOW, unsearchable={"unindexed"}).whole


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["condition"])
def test_a_condition_asks_for(case: Mapping[str, Any]) -> None:
    found = translated(f"any where {case['condition']}")
    assert found.query == case["asks"]
    assert found.exact == case["exact"]


def test_the_stages_of_a_sequence_are_alternatives_that_have_its_keys() -> None:
    found = translated(
        "sequence by k, ?nil with maxspan=1m [any where n == 1] ![any where n == 2] until [any where n == 1]"
    )

    def stage(number: int) -> dict[str, Any]:
        return {"bool": {"filter": [{"term": {"n": {"value": number}}}, {"exists": {"field": "k"}}]}}

    assert found.query == {"bool": {"should": [stage(1), stage(2)], "minimum_should_match": 1}}


def test_nothing_is_asked_for_a_sequence_that_can_not_be_complete() -> None:
    assert translated("sequence [any where n == 1] [any where false]").is_nothing
    assert translated("any where false").is_nothing
    assert translated("any where true").is_everything


def test_the_category_is_a_condition() -> None:
    schema = schema_from_mapping(
        {"properties": {**PROPERTIES, "event": {"properties": {"category": {"type": "keyword"}}}}}
    )
    found = filters_for(eql.compile("process where true", schema).plan, now_ns=NOW).whole
    assert found.query == {"term": {"event.category": {"value": "process"}}}


def test_a_condition_deeper_than_a_server_takes_is_not_asked() -> None:
    condition = 'k == "a"'
    for level in range(LARGEST_DEPTH + 2):
        condition = f"({condition} {'or' if level % 2 else 'and'} n == {level})"
    found = translated(f"any where {condition}")
    assert found.depth <= LARGEST_DEPTH
    assert not found.exact


# The property, on a real node.

TEXTS = ("", "a", "A", "ab", "aB", "b", "a*", "?", "a\\b", "\\", "é", "É", "a b", "abc.exe", "ABC.EXE", "7", "true")
PATTERNS = ("*", "a*", "*b", "?", "a?", "*A*", "??", "\\*", "*\\*", "a\\b", "É*", "*.exe", "**", "a", "")
EXPRESSIONS = ("a.*", "[a-c]+", "a|b", "\\\\w+", "(ab)?c?", "a{1,2}", "É", "~a", ".", "abc\\\\.exe", '\\"a\\"', "a&.*")
NUMBERS = ("0", "1", "-1", "7", "1.5", "-0.5", "0.1", "128", "9007199254740993", "1e3", "99999999999999999999")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "::1", "fe80::1", "::ffff:10.0.0.1")
BLOCKS = ("10.0.0.0/30", "10.0.0.1", "::/0", "fe80::/16", "0.0.0.0/0")
DATES = (
    "2026-03-02",
    "2026-03-02T10:00:00Z",
    "2026-03-02T10:00:00.123Z",
    "2026-03",
    "1969-12-31",
    "2026-03-02T10:00:00.123456789Z",
)
STRING_FIELDS = ("k", "short", "nil", "w", "t", "p.name", "also", "unindexed")
NUMBER_FIELDS = ("n", "small", "x", "single")
OPERATORS = ("==", "!=", "<", "<=", ">", ">=")


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(items: Sequence[str], *, most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(items), min_size=1, max_size=most).map(lambda found: f"({', '.join(found)})")


def common_leaves(
    string_fields: Sequence[str], number_fields: Sequence[str], others: Sequence[str], *, more_texts: Sequence[str] = ()
) -> st.SearchStrategy[str]:
    """Conditions on fields of texts and of numbers, and whether any field, also one of the others, has a value."""
    strings, numbers = st.sampled_from(string_fields), st.sampled_from(number_fields)
    texts, patterns = [quoted(text) for text in (*TEXTS, *more_texts)], [quoted(pattern) for pattern in PATTERNS]
    text, tilde = st.sampled_from(texts), st.sampled_from(("", "~"))
    every = st.sampled_from((*string_fields, *number_fields, *others))
    return st.one_of(
        st.builds("{} {} {}".format, strings, st.sampled_from(OPERATORS), text),
        st.builds("{} {} {}".format, strings, st.sampled_from(("in", "not in", "in~", "not in~")), listed(texts)),
        st.builds("{} {} {}".format, strings, st.sampled_from((":", "like", "like~")), listed([*patterns, *texts])),
        st.builds(
            "{} {} {}".format,
            strings,
            st.sampled_from(("regex", "regex~")),
            listed([f'"{expression}"' for expression in EXPRESSIONS], most=2),
        ),
        st.builds(
            "{}{}({}, {})".format, st.sampled_from(("startsWith", "endsWith", "stringContains")), tilde, strings, text
        ),
        st.builds("{} {} null".format, every, st.sampled_from(("==", "!="))),
        st.builds("length({}) {} {}".format, strings, st.sampled_from(OPERATORS), st.integers(0, 3)),
        st.builds("concat({}, {}) == {}".format, strings, strings, text),
        st.builds("{} {} {}".format, numbers, st.sampled_from(OPERATORS), st.sampled_from(NUMBERS)),
        st.builds("{} {} {}".format, numbers, st.sampled_from(("in", "not in")), listed(NUMBERS)),
    )


def leaves() -> st.SearchStrategy[str]:
    strings, numbers = st.sampled_from(STRING_FIELDS), st.sampled_from(NUMBER_FIELDS)
    dates = st.sampled_from(("d", "dn"))
    return st.one_of(
        common_leaves(STRING_FIELDS, NUMBER_FIELDS, ("flag", "ip", "d", "dn", "p.name.text")),
        st.builds("concat({}, {}) == null".format, strings, st.sampled_from(TEXTS).map(quoted)),
        st.builds("substring({}, 0, 1) : {}".format, strings, st.sampled_from(PATTERNS).map(quoted)),
        st.builds("{} + {} {} {}".format, numbers, numbers, st.sampled_from(OPERATORS), st.sampled_from(NUMBERS[:6])),
        st.sampled_from(("flag", "not flag", "flag == true", "flag != false", "(flag or n > 1) == true")),
        st.builds("ip {} {}".format, st.sampled_from(OPERATORS), st.sampled_from(ADDRESSES).map(quoted)),
        st.builds("cidrMatch(ip, {})".format, listed([quoted(block) for block in BLOCKS]).map(lambda text: text[1:-1])),
        st.builds("ip in {}".format, listed([quoted(block) for block in ADDRESSES])),
        st.builds("{} {} {}".format, dates, st.sampled_from(OPERATORS), st.sampled_from(DATES).map(quoted)),
    )  # fmt: skip


CONDITIONS = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds("not ({})".format, inner),
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
    ),
    max_leaves=4,
)


def several(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A value as documents have it: once, in a list, in several forms, or not at all."""
    return st.one_of(value, st.lists(st.one_of(value, st.none()), max_size=3))


TEXT_VALUES = several(st.sampled_from((*TEXTS, 7, True)))
NUMBER_VALUES = st.one_of(st.integers(-2, 130), st.sampled_from((0.1, -0.0, 1.5, "7", 2**53 + 1)))
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "k": TEXT_VALUES,
        "short": TEXT_VALUES,
        "nil": TEXT_VALUES,
        "w": TEXT_VALUES,
        "t": TEXT_VALUES,
        "p.name": TEXT_VALUES,
        "unindexed": TEXT_VALUES,
        "n": several(NUMBER_VALUES),
        "small": several(NUMBER_VALUES),
        "x": several(NUMBER_VALUES),
        "single": several(NUMBER_VALUES),
        "flag": several(st.sampled_from((True, False, "true", ""))),
        "ip": several(st.sampled_from((*ADDRESSES, "nowhere"))),
        "d": several(st.sampled_from(DATES)),
        "dn": several(st.sampled_from([date for date in DATES if date > "1970"])),
    },
)


PITFALLS: list[dict[str, Any]] = [
    {"k": "\\", "w": "\\", "x": -0.0, "t": "?", "single": 0.1},
    {"k": "\\a", "w": "\\a", "x": [0, -0.0], "t": "", "single": [0.1, 0.2]},
    {"k": "", "w": "", "nil": [None], "short": ["abc"], "t": "long text", "d": "1969-12-31T23:59:59.999Z"},
    {"k": "*", "w": "*", "nil": [], "short": ["abc", "ab"], "t": [], "ip": "::ffff:10.0.0.1"},
    {"k": "É", "d": "2026-03-02T10:00:00.000999Z", "dn": "2026-03-02T10:00:00.000999Z", "n": 2**53 + 1, "small": "1.9"},
    {},
]
CONDITIONS_ON_PITFALLS = (
    *(f"{field} like {quoted(text)}" for field in ("k", "w") for text in ("\\*", "\\?", "*\\*", "\\", "*", "")),
    *(f"not {field} : {quoted(text)}" for field in ("k", "w") for text in ("\\*", "?", "é", "", "**")),
    *(f"endsWith(k, {quoted(text)})" for text in ("\\", "*", "", "\\a")),
    *(f"x {operator} 0" for operator in OPERATORS),
    *(f"single {operator} 0.1" for operator in OPERATORS),
    *(f"{field} {operator} null" for field in ("t", "k", "nil", "short") for operator in ("==", "!=")),
    *(f'{field} {operator} "2026-03-02T10:00:00.000Z"' for field in ("d", "dn") for operator in OPERATORS),
    *(f"n {operator} 9007199254740993" for operator in OPERATORS),
    *(f'ip {operator} "10.0.0.1"' for operator in OPERATORS),
    'short == "abc"',
    'not short == "abc"',
    "small == 1",
    "not length(t) > 0 or length(t) == null",
)


def test_what_the_engine_matches_the_filter_returns(elasticsearch_url: str, namespace: str) -> None:
    index = f"{namespace}-events"
    asked = 0
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=index, mappings=dict(MAPPING))
        caps = client.field_caps(index=index, fields="*").body

        @settings(max_examples=25, deadline=None)
        @example(PITFALLS, list(CONDITIONS_ON_PITFALLS))
        @given(st.lists(DOCUMENTS, min_size=4, max_size=12), st.lists(CONDITIONS, min_size=30, max_size=40))
        def filter_returns_them(documents: list[dict[str, Any]], conditions: list[str]) -> None:
            nonlocal asked
            asked += 1
            hits = write(client, index, documents, run=str(asked))
            filters: dict[str, Translation] = {}
            for condition in conditions:
                try:
                    filters[condition] = translated(f"any where {condition}", caps=caps)
                except EqlError:
                    continue  # types that do not fit
            returned = search_all(client, index, [found.query for found in filters.values()], run=str(asked))
            taken = matched_by_engine(filters, hits)
            for (condition, found), ids, matched in zip(filters.items(), returned, taken, strict=True):
                if matched is None:
                    continue
                assert matched <= ids, f"{condition}: {json.dumps(found.query)} misses {sorted(matched - ids)}"
                if found.exact:
                    assert matched == ids, f"{condition}: {json.dumps(found.query)} is not exact"

        filter_returns_them()


def write(
    client: Elasticsearch, index: str, documents: Sequence[Mapping[str, Any]], *, run: str
) -> list[dict[str, Any]]:
    """Index the documents; returns those that the mapping accepts, as hits."""
    hits: list[dict[str, Any]] = [
        {"_index": index, "_id": f"{run}-{number}", "_source": {**document, "run": run}}
        for number, document in enumerate(documents)
    ]
    lines: list[Mapping[str, Any]] = []
    for hit in hits:
        lines += [{"create": {"_id": hit["_id"]}}, hit["_source"]]
    answer = client.bulk(index=index, operations=lines, refresh=True)
    return [hit for hit, item in zip(hits, answer["items"], strict=True) if item["create"]["status"] == 201]


def search_all(client: Elasticsearch, index: str, queries: Sequence[Any], *, run: str) -> list[set[str]]:
    """The ids that each query returns of the documents of one run."""
    if not queries:
        return []
    lines: list[Mapping[str, Any]] = []
    for query in queries:
        lines += [
            dict[str, Any](),
            {"size": 100, "_source": False, "query": {"bool": {"filter": [{"term": {"run": run}}, query]}}},
        ]
    found = []
    for answer, query in zip(client.msearch(index=index, searches=lines)["responses"], queries, strict=True):
        assert "error" not in answer, f"{json.dumps(query)}: {answer['error']}"
        assert answer["_shards"]["failed"] == 0
        found.append({hit["_id"] for hit in answer["hits"]["hits"]})
    return found


def matched_by_engine(conditions: Iterable[str], hits: Sequence[Mapping[str, Any]]) -> list[set[str] | None]:
    """Per condition the ids that the engine matches, with what the mapping says; None if it fails on a value."""
    schema = schema_from_mapping(MAPPING)
    programs = [eql.compile(f"any where {condition}", schema) for condition in conditions]
    matcher = eql.Matcher([eql.Ask(program.plan, now_ns=NOW) for program in programs])
    columns = Columns(matcher.fields())
    matcher.feed(EventBatch(columns, [columns.decoder.row(hit["_source"]) for hit in hits], base=0))
    return [
        None
        if found.error is not None
        else {hits[n]["_id"] for match in found.matches for n in match.events if n is not None}
        for found in matcher.found()
    ]
