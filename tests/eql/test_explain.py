"""What is explained must be what the engine does: verdicts, funnels and fates against the answers of a search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import eql
from runner.eql.explain.event_chain import ChainEvent, link, prefixes
from runner.eql.explain.event_verdict import EventVerdict, Judge, Verdict
from runner.eql.explain.funnel import Funnel
from runner.eql.explain.partial_trace import Trace, trace
from runner.eql.explain.query_reading import explain, origin_in, unmapped_names
from runner.events.columns.batch import Columns, EventBatch
from runner.events.fields.schema import Schema, schema_from_mapping, shipped_schema

MAPPING = {
    "properties": {
        "@timestamp": {"type": "date"},
        "event": {"properties": {"category": {"type": "keyword"}}},
        "s": {"type": "keyword"},
        "t": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 8}}},
        "n": {"type": "long"},
        "d": {"type": "date"},
        "ip": {"type": "ip"},
        "b": {"type": "boolean"},
        "k": {"type": "keyword"},
    }
}
SCHEMA = schema_from_mapping(MAPPING)
LEAVES = [
    's == "a"', 's : "A*"', 's like "b?"', 's regex "a|b."', 's in ("a", "bb")', 's in~ ("A")', "s == null", "n > 1",
    "n == 2", "n in (1, 2)", "b", 'startsWith(s, "b")', 'endsWith~(s, "B")', "length(s) > 1", "n + n == 3", 't == "a"',
    'ip == "10.0.0.0/8"', 'cidrMatch(ip, "10.0.0.1")', 'd > "2026-01-01"', 'concat(s, n) == "a1"', "?gone == null",
]  # fmt: skip
VALUES: dict[str, list[Any]] = {
    "s": ["a", "A", "bb", "", ["a", "bb"], None, 5],
    "t": ["a", "ab", "much longer than eight"],
    "n": [1, 2, [1, 2], "x", "2"],
    "d": ["2025-01-01", "2026-02-03T00:00:00Z"],
    "ip": ["10.0.0.1", "192.168.0.1"],
    "b": [True, False],
    "k": ["x", "y", ["x", "y"]],
}


def conditions() -> st.SearchStrategy[str]:
    leaf = st.sampled_from(LEAVES)
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
            inner.map(lambda part: f"not ({part})"),
        ),
        max_leaves=5,
    )


@st.composite
def documents(draw: st.DrawFn, most: int = 8) -> list[dict[str, Any]]:
    made = []
    for _ in range(draw(st.integers(1, most))):
        event: dict[str, Any] = {"event": {"category": draw(st.sampled_from(["x", "y"]))}}
        if draw(st.integers(0, 9)):
            event["@timestamp"] = f"2026-01-01T00:00:{draw(st.integers(0, 20)):02}Z"
        for name, values in VALUES.items():
            if draw(st.integers(0, 2)):
                event[name] = draw(st.sampled_from(values))
        made.append(event)
    return made


def compiled(query: str, schema: Schema = SCHEMA) -> eql.Program:
    return eql.compile(query, schema)


def run(program: eql.Program, events: Sequence[dict[str, Any]]) -> Funnel:
    funnel = Funnel(program.plan, now_ns=0)
    columns = Columns(program.plan.fields())
    for start in range(0, len(events), 3):
        rows = [columns.decoder.row(event) for event in events[start : start + 3]]
        funnel.feed(EventBatch(columns, rows, base=start))
    return funnel


def found_by_search(query: str, events: Sequence[dict[str, Any]]) -> list[tuple[int, ...]]:
    """The event numbers of every match, by the search that users call."""
    numbered = [event | {"number": number} for number, event in enumerate(events)]
    hits = eql.search(query, numbered, size=10_000, mapping=MAPPING)["hits"]
    groups = [[hit] for hit in hits["events"]] if "events" in hits else [found["events"] for found in hits["sequences"]]
    return [tuple(hit["_source"]["number"] for hit in group if not hit.get("missing")) for group in groups]


def leaves(verdict: Verdict) -> Iterator[Verdict]:
    yield verdict
    for part in verdict.parts:
        yield from leaves(part)


class TestReading:
    def test_what_is_said_of_each_kind_of_leaf(self) -> None:
        query = (
            'any where s == "a*" and t : "x" and n + 1 == 2 and s regex "^a$" and ip == "10.0.0.0/8" and t > "b" and '
            's in~ ("q") and not b and endsWith(s, "\\\\") and d == "2026-01-01" and s like "x*" and s == null'
        )
        reading = explain(compiled(query), origin_in(SCHEMA, "the mapping"))
        told = []
        for condition in reading.stages[0].conditions:
            leaf = condition.leaf or condition.parts[0].leaf
            assert leaf is not None
            told.append((leaf.query, leaf.reads, leaf.case))
        folded, sensitive = "A to Z in either case", "case-sensitive"
        assert told == [
            ("term", ("s",), sensitive),
            ("term", ("t.keyword",), folded),
            ("script", ("n",), ""),
            ("regexp", ("s",), sensitive),
            ("term", ("ip",), ""),
            ("range", ("t",), ""),
            ("term", ("s",), folded),
            ("term", ("b",), ""),
            ("wildcard", ("s",), sensitive),
            ("range", ("d",), ""),
            ("wildcard", ("s",), sensitive),
            ("exists", ("s",), ""),
        ]

    def test_where_types_come_from(self) -> None:
        shipped = shipped_schema()
        with_own = Schema({**shipped.fields, "own": replace(SCHEMA.fields["n"], name="own")})
        query = "any where process.pid + own == 1 and ?gone == null and (?own == null or ?process.pid == null)"
        unmapped = unmapped_names(eql.parse(query), with_own)
        reading = explain(compiled(query, with_own), origin_in(shipped, "shipped table"), unmapped=unmapped)
        assert [(field.name, field.origin) for field in reading.fields] == [
            ("process.pid", "shipped table"),
            ("own", "inferred from the events"),
            ("gone", "optional and unmapped: null stands in its place"),
        ]

    def test_optional_join_keys_are_looked_for_too(self) -> None:
        query = "sequence by ?a [any where true] by ?s [any where true] by ?s until [any where ?a == 1] by ?c"
        assert unmapped_names(eql.parse(query), SCHEMA) == ("a", "c")

    def test_an_exact_sub_field_is_named_with_its_length_limit(self) -> None:
        (field,) = explain(compiled('any where t == "a"'), origin_in(SCHEMA, "the mapping")).fields
        assert (field.type, field.exact) == ("text", "t.keyword")
        assert field.notes == ("values longer than 8 characters count as missing",)

    def test_a_condition_that_comes_to_false_is_told(self) -> None:
        reading = explain(compiled("any where 1 == 2"), origin_in(SCHEMA, "the mapping"))
        assert reading.stages[0].empty

    def test_anchors_are_remarked_and_escaped_operators_are_not(self) -> None:
        def notes(pattern: str) -> str:
            condition = (
                explain(compiled(f's regex """{pattern}"""'.join(["any where ", ""])), str).stages[0].conditions[0]
            )
            assert condition.leaf is not None
            return " ".join(condition.leaf.notes)

        assert "anchors" in notes("^a$")
        assert "anchors" not in notes("a[^b]")
        assert "operators" in notes("a@b")
        assert "operators" not in notes(r"a\@b")


class TestVerdicts:
    @pytest.mark.slow
    @settings(max_examples=120, deadline=None)
    @given(conditions(), documents())
    def test_an_event_meets_a_query_if_the_search_finds_it(self, condition: str, events: list[dict[str, Any]]) -> None:
        query = f"x where {condition}"
        program = compiled(query)
        judge = Judge(program.plan, now_ns=0)
        met = {number for number, event in enumerate(events) if judge.judge(event).stages[0].met}
        assert met == {number for match in found_by_search(query, events) for number in match}
        funnel = run(program, events)
        assert funnel.stages()[0].left == len(met)

    @settings(max_examples=60, deadline=None)
    @given(conditions(), documents(most=2))
    def test_every_part_agrees_with_its_own_parts(self, condition: str, events: list[dict[str, Any]]) -> None:
        judge = Judge(compiled(f"any where {condition}").plan, now_ns=0)
        for event in events:
            for whole in judge.judge(event).stages[0].conditions:
                for verdict in leaves(whole):
                    parts = [part.met for part in verdict.parts]
                    expected = {
                        "and": all(parts),
                        "or": any(parts),
                        "not": not any(parts),
                        "leaf": verdict.met,
                    }[verdict.role]
                    assert verdict.met == expected
                    for found in verdict.found if verdict.role == "leaf" else ():
                        assert not found.each_met or len(found.each_met) == len(found.values)

    @pytest.mark.parametrize(
        ("condition", "event", "said"),
        [
            ('s == "Bash"', {"s": "bash"}, "it differs in case only: `:` ignores case"),
            ('s in ("Bash")', {"s": ["x", "bash"]}, "it differs in case only: `in~` ignores case"),
            ('s == "ba*"', {"s": "bash"}, "`*` and `?` are literal here: `:` and `like` take them for wildcards"),
            ('s == "bash"', {"s": "bash "}, "it differs in blanks at the ends only"),
            ('s like "BA*"', {"s": "bash"}, "it differs in case only: `:` and `like~` ignore case"),
            ('s : "bas"', {"s": "bash"}, "a part of the value fits, but the whole value must: `*` stands for the rest"),
            ('s regex "BASH"', {"s": "bash"}, "it differs in case only: `regex~` ignores case"),
            (
                's regex "^bash$"',
                {"s": "bash"},
                "`^` and `$` are ordinary characters here: leave them out, the whole value must fit anyway",
            ),
            (
                's regex "bas"',
                {"s": "bash"},
                "a part of the value fits, but the whole value must: `.*` stands for the rest",
            ),
            ('startsWith(s, "BA")', {"s": "bash"}, "it differs in case only: startswith~ ignores case"),
            ('s == "x"', {"s": "bash"}, ""),
            ("n + n == 3", {"n": [1, 2]}, "true for n = 1, n = 2"),
        ],
    )
    def test_hints(self, condition: str, event: dict[str, Any], said: str) -> None:
        (verdict,) = Judge(compiled(f"any where {condition}").plan, now_ns=0).judge(event).stages[0].conditions
        assert verdict.hint == said

    @pytest.mark.parametrize(
        ("condition", "event", "note"),
        [
            ("n == 1", {"n": "seven"}, "the document has 'seven' there, which is no long"),
            ('s == "x"', {"s": {"inner": 1}}, "the document has an object there"),
            ('t == "x"', {"t": "123456789"}, "the document's value has more than 8 characters (ignore_above)"),
            ('s == "x"', {}, ""),
        ],
    )
    def test_why_there_is_no_value(self, condition: str, event: dict[str, Any], note: str) -> None:
        (verdict,) = Judge(compiled(f"any where {condition}").plan, now_ns=0).judge(event).stages[0].conditions
        assert verdict.found[0].values == ()
        assert verdict.found[0].note == note

    def test_values_of_an_array_are_told_one_by_one(self) -> None:
        judge = Judge(compiled("any where n > 1").plan, now_ns=0)
        (verdict,) = judge.judge({"n": [1, 2, 3]}).stages[0].conditions
        assert verdict.found[0].each_met == (False, True, True)

    def test_a_script_that_fails_says_so(self) -> None:
        judge = Judge(compiled("any where number(s) == 1").plan, now_ns=0)
        (verdict,) = judge.judge({"s": "one"}).stages[0].conditions
        assert not verdict.met
        assert "one" in verdict.error

    def test_an_event_without_a_key_or_a_timestamp_takes_no_part(self) -> None:
        judge = Judge(compiled("sequence by k [any where true] [any where true]").plan, now_ns=0)
        keyless, timeless = judge.judge({"@timestamp": "2026-01-01"}), judge.judge({"k": "x"})
        assert not keyless.stages[0].met
        assert not keyless.stages[0].keys[0].joined
        assert "no readable value in @timestamp" in timeless.stages[0].problem


class TestFunnel:
    def test_counts_and_the_values_that_were_there_instead(self) -> None:
        events = [{"s": name, "n": 1} for name in ["a", "a", "b"]] + [{"n": 2}]
        (stage,) = run(compiled('any where n == 1 and s == "c" and b'), events).stages()
        assert [(step.text, step.came, step.passed) for step in stage.steps] == [
            ("n == 1", 4, 3),
            ('s == "c"', 3, 0),
            ("b", 0, 0),
        ]
        assert stage.steps[1].field == "s"
        assert stage.steps[1].common == (("a", 2), ("b", 1))

    def test_a_value_that_a_script_cannot_read_is_told(self) -> None:
        (stage,) = run(compiled("any where number(s) == 1"), [{"s": "one"}]).stages()
        assert "one" in stage.steps[0].error

    def test_keys_of_a_sample(self) -> None:
        query = "sample by k [x where true] [y where true]"
        pairs = [("x", "a"), ("x", "b"), ("y", "b"), ("y", "c")]
        events = [{"event": {"category": kind}, "k": key} for kind, key in pairs]
        assert [(step.keys, step.shared) for step in run(compiled(query), events).key_steps()] == [(2, 2), (2, 1)]


SEQUENCES = [
    "sequence {by} {span} [x where {a}] [y where {b}]",
    "sequence {by} {span} [any where {a}] [any where {b}] [any where {a}]",
    "sequence {by} {span} [x where true] [y where true] until [any where {a}]",
    "sequence {by} [any where true] with runs=3",
    "sequence {by} with maxspan=5s ![any where {a}] [x where true] [y where true]",
    "sequence {by} with maxspan=5s [x where true] ![any where {a}] [y where true] ![x where {b}]",
]


def traced(query: str, events: Sequence[dict[str, Any]], watch: Sequence[tuple[int, ...]] = ()) -> Trace:
    program = compiled(query)
    return trace(program.plan, run(program, events).groups(), watch=watch)


class TestFates:
    @pytest.mark.slow
    @settings(max_examples=120, deadline=None)
    @given(
        st.sampled_from(SEQUENCES),
        st.sampled_from(["", "by k", "by ?k"]),
        st.sampled_from(["", "with maxspan=3s"]),
        st.sampled_from(LEAVES),
        st.sampled_from(LEAVES),
        documents(most=12),
    )
    def test_the_trace_finds_what_the_search_finds_and_loses_nothing_from_sight(
        self, shape: str, by: str, span: str, a: str, b: str, events: list[dict[str, Any]]
    ) -> None:
        query = shape.format(by=by, span=span, a=a, b=b)
        result = traced(query, events)
        built = [tuple(number for number in match.events if number is not None) for match in result.found]
        assert built == found_by_search(query, events)
        assert result.complete == len(built) + len(result.refused)
        for step in result.steps:
            assert sum(count for _, count in step.fates) == step.came
        for before, after in zip(result.steps, result.steps[1:], strict=False):
            assert dict(before.fates).get("continued", 0) == after.came
        if result.steps:
            assert dict(result.steps[-1].fates).get("continued", 0) == result.complete

    def test_each_way_to_end(self) -> None:
        query = "sequence by k with maxspan=5s [x where true] [y where true] until [z where true]"
        events = [
            event("x", 0, "long"), event("y", 9, "long"),
            event("x", 10, "until"), event("z", 11, "until"), event("y", 12, "until"),
            event("x", 20, "twice"), event("x", 21, "twice"), event("y", 22, "twice"),
            event("y", 30, "before"), event("x", 31, "before"),
            event("x", 40, "alone"),
        ]  # fmt: skip
        (step,) = traced(query, events).steps
        assert dict(step.fates) == {
            "maxspan": 1, "until": 1, "replaced": 1, "continued": 1, "only before": 1, "other key": 1,
        }  # fmt: skip
        assert step.nearest is not None
        assert (step.nearest.events, step.nearest.by, step.nearest.span_ns) == ((0,), 1, 9_000_000_000)

    def test_the_nearest_event_of_another_key_is_named_with_the_values_that_differ(self) -> None:
        query = "sequence by k, s [x where true] [y where true]"
        events = [event("x", 0, "x") | {"s": "a"}, event("y", 1, "y") | {"s": "b"}, event("y", 2, "x") | {"s": "b"}]
        (step,) = traced(query, events).steps
        assert step.near_key is not None
        assert (step.near_key.last, step.near_key.next) == (0, 2)
        assert [(key.left, key.left_value, key.right_value) for key in step.near_key.differs] == [("s", "a", "b")]

    def test_no_event_at_the_next_stage(self) -> None:
        (step,) = traced("sequence [x where true] [y where true]", [event("x", 0, "a")]).steps
        assert step.fates == (("no event", 1),)

    def test_the_event_that_had_to_be_missing_is_named(self) -> None:
        query = "sequence with maxspan=9s [x where true] ![z where true] [y where true]"
        result = traced(query, [event("x", 0, "a"), event("z", 1, "a"), event("y", 2, "a")])
        assert result.found == ()
        (refused,) = result.refused
        assert (refused.events, refused.by) == ((0, 2), 1)


def event(category: str, second: int, key: str) -> dict[str, Any]:
    return {"@timestamp": f"2026-01-01T00:00:{second:02}Z", "event": {"category": category}, "k": key}


class TestChains:
    QUERY = "sequence by k with maxspan=5s [x where true] [y where true] until [z where true]"

    def chain(self, events: list[dict[str, Any]], numbers: Sequence[int]) -> Any:
        program = compiled(self.QUERY)
        judge = Judge(program.plan, now_ns=0)
        groups = run(program, events).groups()
        result = trace(program.plan, groups, watch=prefixes(numbers))
        returned = [match.events for match in result.found]
        given_events = [ChainEvent(number, judge.judge(events[number])) for number in numbers]
        return link(program.plan, given_events, groups, result, returned=returned)

    def test_a_sequence_that_was_found(self) -> None:
        chain = self.chain([event("x", 0, "a"), event("y", 5, "a")], [0, 1])
        assert chain.formed
        assert chain.returned
        assert chain.meets == (True, True)
        (found,) = chain.links
        assert (found.gap_ns, found.later, found.within, found.until) == (5_000_000_000, True, True, None)

    def test_other_keys_too_late_and_out_of_order(self) -> None:
        events = [event("x", 10, "a"), event("y", 20, "b"), event("y", 3, "a")]
        (late,) = self.chain(events, [0, 1]).links
        assert not late.keys[0].equal
        assert not late.within
        (early,) = self.chain(events, [0, 2]).links
        assert early.keys[0].equal
        assert not early.later

    def test_an_until_event_between(self) -> None:
        chain = self.chain([event("x", 0, "a"), event("z", 1, "a"), event("y", 2, "a")], [0, 2])
        assert not chain.formed
        assert chain.links[0].until == 1
        assert [(ending.fate, ending.by) for ending in chain.endings] == [("until", 1)]

    def test_a_newer_first_event_takes_the_place(self) -> None:
        chain = self.chain([event("x", 0, "a"), event("x", 1, "a"), event("y", 2, "a")], [0, 2])
        assert not chain.formed
        assert [(ending.fate, ending.by) for ending in chain.endings] == [("replaced", 1)]

    def test_an_earlier_event_went_on_first(self) -> None:
        chain = self.chain([event("x", 0, "a"), event("y", 1, "a"), event("y", 2, "a")], [0, 2])
        assert not chain.formed
        assert [(ending.fate, ending.by) for ending in chain.endings] == [("continued", 1)]

    def test_an_event_that_does_not_meet_its_stage(self) -> None:
        assert self.chain([event("y", 0, "a"), event("y", 1, "a")], [0, 1]).meets == (False, True)

    @settings(max_examples=60, deadline=None)
    @given(documents(most=6), st.integers(0, 5), st.integers(0, 5))
    def test_a_pair_is_formed_if_the_search_finds_it(self, events: list[dict[str, Any]], one: int, other: int) -> None:
        numbers = (one % len(events), other % len(events))
        assert self.chain(events, numbers).formed == (numbers in found_by_search(self.QUERY, events))


def test_judging_gives_the_time_of_the_event() -> None:
    verdict: EventVerdict = Judge(compiled("any where true").plan, now_ns=0).judge(
        {"@timestamp": "1970-01-01T00:00:01Z"}
    )
    assert verdict.time == 1_000_000_000
