"""Whatever the text: the front end gives a program or an EqlError, never anything else.

`RUNNER_FUZZ=1000000` runs that many inputs instead of the few thousand of a usual run; `RUNNER_FUZZ_SEED` picks others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from runner.eql.analysis.check import check
from runner.eql.analysis.simplify import simplify
from runner.eql.syntax import ast, tokens
from runner.eql.syntax.errors import EqlError, ParsingError, VerificationError
from runner.eql.syntax.parser import parse
from runner.events.fields.schema import Schema
from runner.expressions import nodes
from runner.messages.text_positions import Source
from tests.eql.test_check import FIELDS

INPUTS = int(os.environ.get("RUNNER_FUZZ", "3000"))
SEED = int(os.environ.get("RUNNER_FUZZ_SEED", "1"))

NAMES = [*FIELDS, "?pid", "?gone", "gone.by", "`any`", "a.`b c`", "threads.`id`"]
CONSTANTS = [
    "1", "0", "-1", "2.5", ".5e3", "9223372036854775807", "18446744073709551616", "true", "false", "null", '""', '"a"',
    '"*.exe"', '"10.0.0.0/8"', '"2024-01-01"', '"now-1d"', '"[a-z]+(b|c){2,3}"', '"a("', '"""C:\\x"""', '"\\u{1F600}"',
]  # fmt: skip
FUNCTIONS = [
    "length", "endsWith", "startsWith~", "cidrMatch", "between~", "concat", "number", "string", "substring", "indexOf",
    "add", "divide", "modulo", "nosuch", "length~",
]  # fmt: skip
PIECES = [
    *tokens.KEYWORDS, *tokens.OPERATORS, *CONSTANTS, *NAMES, *FUNCTIONS, "\n", "// x\n", "/* x */", "/*", "*/",
    "'", '"', "`", '"""', "\\", "!", "~", "#", "é", "\x00", "\u2028", "😀", "runs", "head", "tail", "5s",
]  # fmt: skip


def run(text: str) -> str:
    """Take a text through the whole front end; what became of it. Anything but an EqlError goes to the caller."""
    try:
        statement = parse(text)
        outcome = "strict"
        for lenient in (False, True):
            checked = check(
                statement, Source(text), Schema(FIELDS, lenient),
                category_field="event.category", timestamp_field="@timestamp", tiebreaker_field="pid",
            )  # fmt: skip
            simplified = simplify(checked.statement)
            assert simplify(simplified) == simplified
            assert hash(simplified) == hash(simplify(checked.statement))
            for query in ast.event_queries(simplified):
                assert not any(isinstance(node, nodes.Name) for node in nodes.walk(query.condition))
    except EqlError as error:
        assert isinstance(error, (ParsingError, VerificationError))
        assert error.findings
        assert str(error)
        for finding in error.findings:
            assert 0 <= finding.span.start <= len(text)
            assert finding.span.start <= finding.span.end <= max(len(text), 1)
            assert "\n" in error.picture(finding)
        return error.kind
    return outcome


def expression(chance: random.Random, depth: int) -> str:
    """A condition that is mostly well formed and sometimes well typed."""
    if depth <= 0:
        return chance.choice([str(chance.choice(NAMES)), chance.choice(CONSTANTS)])
    left = expression(chance, depth - chance.randint(1, 2))
    match chance.randrange(9):
        case 0:
            return f"{left} {chance.choice(['and', 'or'])} {expression(chance, depth - 1)}"
        case 1:
            return f"not {left}"
        case 2:
            return f"({left})"
        case 3:
            return f"{left} {chance.choice(['==', '!=', '<', '<=', '>', '>='])} {expression(chance, depth - 2)}"
        case 4:
            items = ", ".join(expression(chance, 0) for _ in range(chance.randint(1, 3)))
            return f"{left} {chance.choice(['in', 'not in', 'in~'])} ({items})"
        case 5:
            constant = chance.choice(CONSTANTS)
            return f"{left} {chance.choice([':', 'like', 'like~', 'regex', 'regex~'])} {constant}"
        case 6:
            arguments = ", ".join(expression(chance, depth - 2) for _ in range(chance.randint(0, 4)))
            return f"{chance.choice(FUNCTIONS)}({arguments})"
        case 7:
            return f"{left} {chance.choice('+-*/%')} {expression(chance, depth - 2)}"
        case _:
            return f"{chance.choice('+-')} {left}"


def query(chance: random.Random) -> str:
    """A statement over such conditions."""

    def event() -> str:
        category = chance.choice(["any", "process", '"x y"'])
        return f"{category} where {expression(chance, chance.randint(1, 6))}"

    def keys() -> str:
        return f" by {', '.join(chance.sample(NAMES, chance.randint(1, 2)))}" if chance.random() < 0.4 else ""

    def term() -> str:
        runs = f" with runs={chance.randint(0, 4)}" if chance.random() < 0.2 else ""
        return f"{chance.choice(['[', '[', '[', '!['])}{event()}]{keys()}{runs}"

    pipes = chance.choice(["", "", " | head 5", " | tail 3 | head 1", " | sort pid", " | count"])
    if chance.random() < 0.6:
        return event() + pipes
    terms = " ".join(term() for _ in range(chance.randint(1, 4)))
    if chance.random() < 0.3:
        return f"sample{keys()} {terms}{pipes}"
    span = chance.choice(["", " with maxspan=5s", " with maxspan=1 d", " with maxspan=0s"])
    until = f" until [{event()}]{keys()}" if chance.random() < 0.3 else ""
    return f"sequence{keys()}{span} {terms}{until}{pipes}"


def mutated(chance: random.Random, text: str) -> str:
    """The text with a few pieces cut out, doubled, swapped in or put elsewhere."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(text))
        end = min(len(text), start + chance.randint(0, 12))
        match chance.randrange(4):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:start] + chance.choice(PIECES) + text[start:]
            case 2:
                text = text[:start] + chance.choice(PIECES) + text[end:]
            case _:
                text = text[:start] + text[start:end] * chance.randint(2, 5) + text[end:]
    return text


def inputs(chance: random.Random) -> Iterator[str]:
    while True:
        text = query(chance)
        yield text
        yield mutated(chance, text)
        yield mutated(chance, mutated(chance, text))
        yield " ".join(chance.choice(PIECES) for _ in range(chance.randint(1, 30)))


def test_generated_and_mutated_queries() -> None:
    chance = random.Random(SEED)
    outcomes: dict[str, int] = {}
    for number, text in enumerate(inputs(chance)):
        if number == INPUTS:
            break
        try:
            outcome = run(text)
        except Exception as error:
            raise AssertionError(f"input {number}: {text!r}") from error
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes.keys() == {"strict", "parsing_exception", "verification_exception"}


@given(st.text())
def test_any_text(text: str) -> None:
    run(text)
    run(f"any where {text}")


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_tokens(pieces: list[str]) -> None:
    run("any where " + " ".join(pieces))
    run("sequence " + "".join(pieces))
