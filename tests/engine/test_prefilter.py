"""Required literals: a condition may be left out for a value only if it then has its default."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from runner import eql
from runner.engine.filter.predicates import Lookup, join_conjuncts
from runner.engine.filter.prefilter import Prefilter, RequiredLiterals, TextLiteral
from runner.engine.stage_sets import bits_of
from runner.events.columns.batch import Columns
from runner.events.fields.schema import DataType, Field, Schema
from runner.events.fields.values import Canonical
from runner.events.files.event_files import EventFiles

SCHEMA = Schema({"f": Field("f", DataType.KEYWORD), "@timestamp": Field("@timestamp", DataType.DATE)})
START = 1_700_000_000_000
TEXTS = st.text(alphabet="aAbB/.é", max_size=7)
PATTERNS = st.text(alphabet="aAbB/é*?", min_size=1, max_size=7)
EXPRESSIONS = st.lists(
    st.sampled_from(
        ["a", "B", "/", "é", r"\\.", ".", ".*", "[ab]", "[A-Z]{1,3}", "(a|b)", "b?", "(aB)+", "/*", "(/a)?"]
    ),
    min_size=1,
    max_size=6,
).map("".join)


def listed(texts: list[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    """One condition on `f`, or several joined."""
    operator = draw(
        st.sampled_from([":", "like", "like~", "in", "in~", "==", "startsWith", "endsWith~", "null", "regex"])
    )
    patterns = draw(st.lists(PATTERNS, min_size=1, max_size=4))
    texts = draw(st.lists(TEXTS, min_size=1, max_size=4))
    match operator:
        case "regex":
            expressions = draw(st.lists(EXPRESSIONS, min_size=1, max_size=2))
            condition = f"f {draw(st.sampled_from(['regex', 'regex~']))} ({listed(expressions)})"
        case "==":
            condition = f'f == "{texts[0]}"'
        case "null":
            condition = "f == null"
        case "in" | "in~":
            condition = f"f {operator} ({listed(texts)})"
        case "startsWith" | "endsWith~":
            condition = f'{operator}(f, "{texts[0]}")'
        case _:
            condition = f"f {operator} ({listed(patterns)})"
    if draw(st.booleans()):
        condition = f"not {condition}"
    if draw(st.integers(0, 3)) == 0:
        condition = f"({condition} {draw(st.sampled_from(['and', 'or']))} {draw(conditions())})"
    return condition


@settings(max_examples=300, deadline=None)
@given(st.lists(conditions(), min_size=1, max_size=6), st.lists(TEXTS | st.lists(TEXTS, min_size=2, max_size=3)))
def test_a_condition_that_is_left_out_has_its_default(queries: list[str], given_values: list[str | list[str]]) -> None:
    lookups: list[Lookup] = []
    for query in queries:
        (stage,) = eql.compile(f"any where {query}", SCHEMA).plan.stages
        lookups += [part for part in join_conjuncts(stage.conjuncts, 0) if isinstance(part, Lookup)]
    index = Prefilter((number, lookup.required) for number, lookup in enumerate(lookups) if lookup.required is not None)
    values = [tuple(value) if isinstance(value, list) else value for value in given_values]
    for value, candidates in zip(values, index.candidates(values), strict=True):
        for number, lookup in enumerate(lookups):
            if lookup.required is not None and not candidates >> number & 1:
                assert lookup.test(value) is lookup.required.default


def test_most_conditions_are_left_out_for_a_value() -> None:
    queries = [f'f : ("/opt/{number}/*", "*.{number}") and not f : "*x*"' for number in range(50)]
    plans = [eql.compile(f"any where {query}", SCHEMA).plan for query in queries]
    parts = [part for plan in plans for part in join_conjuncts(plan.stages[0].conjuncts, 0)]
    required = [part.required for part in parts if isinstance(part, Lookup) and part.required is not None]
    assert len(required) == 50
    index = Prefilter(enumerate(required))
    values: list[Canonical] = ["/opt/7/tool", "/usr/bin/python3.11", ("-c", "/OPT/9/a"), "/usr/bin/bash"]
    assert list(map(bits_of, index.candidates(values))) == [[7], [11], [9], []]
    texts = [value for value in values if isinstance(value, str)]
    assert list(map(bits_of, index.candidates(texts))) == [[7], [11], []]


def test_needles_are_found_wherever_they_stand_in_a_long_text() -> None:
    required = [
        RequiredLiterals((frozenset([TextLiteral("within", "needle")]),), False),
        RequiredLiterals((frozenset([TextLiteral("start", "xx")]),), False),
        RequiredLiterals((frozenset([TextLiteral("end", "lex")]),), False),
        RequiredLiterals((frozenset([TextLiteral("within", "+")]),), False),
    ]
    index = Prefilter(enumerate(required))
    for boundary in (1 << 18, 1 << 19):
        for place in range(boundary - 9, boundary + 3):
            text = f"{'x' * place}Needle{'x' * 9}"
            assert bits_of(index.candidates([text])[0]) == [0, 1]
    texts = ["needle", "x" * (1 << 19), "lex", "nee", "dle+"]
    assert list(map(bits_of, index.candidates(texts))) == [[0], [1], [2], [], [3]]
    assert list(map(bits_of, index.candidates(["ne", "edle", "xx", "Lex"]))) == [[], [], [1], [2]]


def test_characters_alone_are_needles() -> None:
    required = [RequiredLiterals((frozenset([TextLiteral("within", character)]),), False) for character in "ab/é"]
    index = Prefilter(enumerate(required))
    values = ["a", "B/", "xé", "", ("a", "x/"), None, 5, True]
    assert list(map(bits_of, index.candidates(values))) == [[0], [1, 2], [3], [], [0, 2], [], [], []]
    assert list(map(bits_of, Prefilter(enumerate(required[:3])).candidates(["Ab", "/"]))) == [[0, 1], [2]]


def test_fields_of_the_first_and_of_the_second_look_agree(tmp_path: Path) -> None:
    """Files large enough for several batches, in which later batches have fields that the first look has learnt."""
    path = tmp_path / "events.ndjson"
    with path.open("w") as file:
        for number in range(30_000):
            name = f"n{number % 7}"
            body = f'{{"name":"{name}","args":["a","{number % 11}"],"pad":"{"x" * 120}"}}'
            if number % 1000 == 999:
                file.write(f'{{"@timestamp":{START + number},"event.category":"process","process.name":"{name}"}}\n')
            elif number % 1000 == 998:
                file.write(f'{{"@timestamp":{START + number},"event":{{"category":"process"}},"process":[{body}]}}\n')
            else:
                file.write(f'{{"@timestamp":{START + number},"event":{{"category":"process"}},"process":{body}}}\n')
    query = 'process where process.name == "n3" and process.args : "5"'
    matcher = eql.Matcher([eql.Ask(eql.compile(query, EVENTS).plan)])
    columns = Columns(matcher.fields())
    with EventFiles([path]) as files:
        sizes = []
        for batch in files.batches(columns):
            sizes.append(len(batch))
            files.keep(batch, matcher.feed(batch))
        assert len(sizes) > 1
        (found,) = matcher.found()
        expected = [number for number in range(30_000) if number % 7 == 3 and number % 11 == 5 and number % 1000 != 999]
        assert [match.events[0] for match in found.matches] == expected
        assert files.fetch(expected[-1])["@timestamp"] == START + expected[-1]


EVENTS = Schema(
    {
        "@timestamp": Field("@timestamp", DataType.DATE),
        "event.category": Field("event.category", DataType.KEYWORD),
        "process.name": Field("process.name", DataType.KEYWORD),
        "process.args": Field("process.args", DataType.KEYWORD),
    }
)
