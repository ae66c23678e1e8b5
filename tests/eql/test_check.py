"""The checker against its specification: findings, warnings, resolved trees; and what stands outside of conditions."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from runner.eql.analysis.check import Checked, check, type_of
from runner.eql.syntax import ast
from runner.eql.syntax.errors import QueryFinding, VerificationError
from runner.eql.syntax.parser import parse
from runner.events.fields.schema import DataType, Field, Schema
from runner.expressions import nodes
from runner.messages.text_positions import Source
from tests.eql.show import show
from tests.paths import SPECS

SPEC = tomllib.loads((SPECS / "eql" / "check.toml").read_text())


def read_field(name: str, written: str | dict[str, Any]) -> Field:
    values = {"type": written} if isinstance(written, str) else dict(written)
    return Field(name, DataType(values.pop("type")), **values)


FIELDS = {name: read_field(name, written) for name, written in SPEC["schema"].items()}


def check_text(
    text: str,
    fields: dict[str, Field] | None = None,
    *,
    lenient: bool = False,
    category: str = "event.category",
    timestamp: str = "@timestamp",
    tiebreaker: str | None = None,
) -> Checked:
    schema = Schema(FIELDS if fields is None else fields, lenient)
    return check(
        parse(text), Source(text), schema,
        category_field=category, timestamp_field=timestamp, tiebreaker_field=tiebreaker,
    )  # fmt: skip


def written(text: str, findings: tuple[QueryFinding, ...]) -> list[str]:
    """Findings as the specification has them: place and length, message and hint."""
    lines = []
    for finding in findings:
        line, column = Source(text).place(finding.span.start)
        size = finding.span.end - finding.span.start
        lines.append(f"{line}:{column}-{size} {finding.text}")
    return lines


def refusal(text: str, **options: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        check_text(text, **options)
    return str(caught.value)


@pytest.mark.parametrize("case", SPEC["case"], ids=lambda case: case["query"])
def test_case(case: dict[str, Any]) -> None:
    text, lenient = case["query"], case.get("lenient", False)
    if "tree" in case:
        checked = check_text(text, lenient=lenient)
        assert show(checked.statement) == case["tree"]
        assert written(text, checked.warnings) == case.get("warnings", [])
    else:
        with pytest.raises(VerificationError) as caught:
            check_text(text, lenient=lenient)
        assert written(text, caught.value.findings) == case["findings"]


def test_all_findings_are_in_the_reason() -> None:
    assert refusal("any where nmae == 1\n  and pid : 5") == (
        "Found 2 problems\n"
        "line 1:11: Unknown column [nmae], did you mean [name]?\n"
        "line 2:7: first argument of [:] must be [string], found value [pid] type [long]; consider using [==] instead"
    )


def condition_of(checked: Checked) -> nodes.Expression:
    assert isinstance(checked.statement.body, ast.EventQuery)
    return checked.statement.body.condition


def test_names_become_fields() -> None:
    condition = condition_of(check_text('any where title == "x"'))
    assert isinstance(condition, nodes.Comparison)
    assert isinstance(condition.left, nodes.FieldRef)
    assert (condition.left.field, condition.left.exact) == (FIELDS["title"], FIELDS["title.keyword"])


def test_exact_field_that_the_schema_does_not_list() -> None:
    title = Field("title", DataType.TEXT, exact="title.raw")
    condition = condition_of(check_text('any where title : "x"', {"title": title, "@timestamp": FIELDS["@timestamp"]}))
    assert isinstance(condition, nodes.Pattern)
    assert isinstance(condition.value, nodes.FieldRef)
    assert condition.value.exact == Field("title.raw", DataType.KEYWORD, path="title")


def test_unknown_field_of_a_lenient_schema_is_missing_and_no_null() -> None:
    condition = condition_of(check_text('any where not nothing == "a"', lenient=True))
    assert isinstance(condition, nodes.Not)
    assert isinstance(condition.operand, nodes.Comparison)
    assert condition.operand.left == nodes.FieldRef(
        condition.operand.left.span, Field("nothing", DataType.NULL), Field("nothing", DataType.NULL)
    )


def test_optional_fields() -> None:
    condition = condition_of(check_text("any where ?nothing == ?pid or ?pid == 1"))
    assert isinstance(condition, nodes.Or)
    first, second = condition.operands
    assert isinstance(first, nodes.Comparison)
    assert isinstance(second, nodes.Comparison)
    assert isinstance(first.left, nodes.Constant)
    assert first.left.value is None
    assert isinstance(second.left, nodes.FieldRef)
    assert second.left.optional


def test_an_optional_field_of_a_lenient_schema_is_null_only_if_no_event_has_it() -> None:
    found = condition_of(check_text("any where ?nothing == 1", lenient=True))
    assert isinstance(found, nodes.Comparison)
    assert found.left == nodes.FieldRef(
        found.left.span, Field("nothing", DataType.NULL), Field("nothing", DataType.NULL), True
    )
    schema = Schema(FIELDS, lenient=True, absent=frozenset({"nothing"}))
    text = "any where ?nothing == 1"
    checked = check(
        parse(text), Source(text), schema,
        category_field="event.category", timestamp_field="@timestamp", tiebreaker_field=None,
    )  # fmt: skip
    found = condition_of(checked)
    assert isinstance(found, nodes.Comparison)
    assert isinstance(found.left, nodes.Constant)


def test_a_warning_comes_once_for_a_name() -> None:
    text = "sequence by gone [any where gone == 1] [any where gone == 2 and ?gone == 3]"
    assert written(text, check_text(text, lenient=True).warnings) == ["1:13-4 Unknown column [gone]"]


@pytest.mark.parametrize(
    ("query", "data_type"),
    [
        ("pid", DataType.LONG), ("5", DataType.INTEGER), ("5000000000", DataType.LONG), ("1.5", DataType.DOUBLE),
        ("10000000000000000000", DataType.UNSIGNED_LONG), ("null", DataType.NULL), ("exit_code + 1", DataType.INTEGER),
        ("exit_code * pid", DataType.LONG), ("pid + load", DataType.DOUBLE), ("-exit_code", DataType.INTEGER),
        ("add(exit_code, 1.5)", DataType.DOUBLE), ("length(name)", DataType.INTEGER), ("string(1)", DataType.KEYWORD),
        ("null + null", DataType.NULL), ("number(name)", DataType.DOUBLE), ("(pid == 1)", DataType.BOOLEAN),
    ],
)  # fmt: skip
def test_types(query: str, data_type: DataType) -> None:
    condition = condition_of(check_text(f"any where {query} == null"))
    assert isinstance(condition, nodes.Comparison)
    assert type_of(condition.left) is data_type


def test_category_is_checked_where_there_is_one() -> None:
    fields = {"@timestamp": FIELDS["@timestamp"], "kind": Field("kind", DataType.LONG)}
    assert refusal("process where true", fields=fields) == "Found 1 problem\nline 1:1: Unknown column [event.category]"
    assert check_text("any where true", fields).warnings == ()
    assert refusal("sequence [any where true] [file where true]", fields=fields) == (
        "Found 1 problem\nline 1:28: Unknown column [event.category]"
    )
    assert refusal("process where true", fields=fields, category="kind") == (
        'Found 1 problem\nline 1:1: cannot read ["process"] as a value of field [kind] of type [long]'
    )
    warnings = check_text("process where true", fields, lenient=True).warnings
    assert written("process where true", warnings) == ["1:1-7 Unknown column [event.category]"]


def test_category_field_must_be_exact() -> None:
    fields = {"@timestamp": FIELDS["@timestamp"], "event.category": Field("event.category", DataType.TEXT)}
    assert "line 1:1: [event.category] cannot operate on field of data type [text]: No keyword" in refusal(
        "process where true", fields=fields
    )


def test_timestamp_and_tiebreaker_must_be_there_but_for_samples() -> None:
    fields = {"name": FIELDS["name"]}
    for text in ("any where true", "sequence [any where true] [any where true]"):
        assert refusal(text, fields=fields, timestamp="when", tiebreaker="seq") == (
            "Found 2 problems\nline 1:1: Unknown column [when]\nline 1:1: Unknown column [seq]"
        )
        assert [warning.message for warning in check_text(text, fields, lenient=True, timestamp="when").warnings] == [
            "Unknown column [when]"
        ]
    sample = "sample by name [any where true] [any where true]"
    assert check_text(sample, fields, timestamp="when", tiebreaker="seq").warnings == ()


def test_weak_suggestions_only_where_the_name_must_not_fail() -> None:
    assert "did you mean any of [pid, ppid]?" in refusal("any where pib == 1")
    assert check_text("any where pib == 1", lenient=True).warnings[0].text == "Unknown column [pib]"
    assert check_text("any where evnt.category == 1", lenient=True).warnings[0].text == (
        "Unknown column [evnt.category], did you mean [event.category]?"
    )


@pytest.mark.slow
def test_many_findings_and_long_texts_stay_handy() -> None:
    names = " or ".join(f"unknown_{number} == 1" for number in range(5_000))
    with pytest.raises(VerificationError) as caught:
        check_text(f"any where {names}")
    assert len(caught.value.findings) == 5_000
    assert str(caught.value).startswith("Found 5000 problems\nline 1:11: Unknown column [unknown_0]")
    items = ", ".join(f'"{number}"' for number in range(50_000))
    assert len(refusal(f"any where pid in (1, {items}) and pid in (2, {items})")) < 10_000


def test_deepest_tree_can_be_checked() -> None:
    checked = check_text("any where " + "not (" * 90 + "elevated" + ")" * 90)
    assert show(checked.statement).count("(not ") == 90
