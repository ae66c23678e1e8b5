"""What is wrong with a query: `EqlError` and its kinds, named after the exception types of the EQL search API."""

from __future__ import annotations

from collections.abc import Sequence

from runner.messages.query_errors import QueryError, QueryFinding
from runner.messages.text_positions import Source, Span

__all__ = [
    "DataError",
    "EqlError",
    "ParsingError",
    "QueryFinding",
    "RequestError",
    "UnsupportedError",
    "VerificationError",
]


class EqlError(QueryError):
    """A query that cannot be answered; several findings are preceded by "Found N problems"."""

    kind = "eql_exception"
    """The `error.type` of the API's answer."""


class ParsingError(EqlError):
    """The text is not EQL."""

    kind = "parsing_exception"


class VerificationError(EqlError):
    """The text is EQL, but its fields, types or functions do not fit."""

    kind = "verification_exception"
    code = "query-type"

    def reason(self) -> str:
        count = len(self.findings)
        return f"Found {count} problem{'' if count == 1 else 's'}\n" + super().reason()


class UnsupportedError(EqlError):
    """The query is valid EQL that this engine does not answer; it is refused so that it is never answered wrongly."""

    kind = "unsupported_operation_exception"
    code = "unsupported-query"


class DataError(EqlError):
    """The query met a value that it cannot work on; Elasticsearch fails the shard in this case."""

    kind = "search_phase_execution_exception"


class RequestError(EqlError):
    """The parameters of a search are out of range; the query was not looked at."""

    kind = "action_request_validation_exception"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(Source(""), [QueryFinding(Span(0, 0), problem) for problem in problems])

    def reason(self) -> str:
        return "Validation Failed: " + "".join(f"{number}: {text};" for number, text in enumerate(self.problems, 1))
