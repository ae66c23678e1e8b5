"""The EQL engine: query -> tokens -> ast -> checked, typed ast -> plan -> matches.

`compile` gives a program that can be run over batches of events (`Matcher`): `parse`, once per text, then `resolve`,
once per schema. `search` wraps the whole in the shape of the `_eql/search` answer. Every error is an `EqlError` with
line, column and what was expected.
"""

from runner.engine.matcher import Ask, Found, Matcher, Scope
from runner.eql.program import ParsedQuery, Program
from runner.eql.program import compile_query as compile  # noqa: A004 - the name that re and the built-in have
from runner.eql.program import parse_query as parse
from runner.eql.program import resolve_query as resolve
from runner.eql.search_api import SearchOptions, answer, search
from runner.eql.syntax.errors import (
    DataError,
    EqlError,
    ParsingError,
    RequestError,
    UnsupportedError,
    VerificationError,
)

__all__ = [
    "Ask",
    "DataError",
    "EqlError",
    "Found",
    "Matcher",
    "ParsedQuery",
    "ParsingError",
    "Program",
    "RequestError",
    "Scope",
    "SearchOptions",
    "UnsupportedError",
    "VerificationError",
    "answer",
    "compile",
    "parse",
    "resolve",
    "search",
]
