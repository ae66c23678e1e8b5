"""What is wrong with a query: `EqlError` and its kinds, named after the exception types of the EQL search API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.messages.suggestions import Hint
from runner.messages.text_positions import IN_QUERY, Source, Span


@dataclass(frozen=True, slots=True)
class QueryFinding:
    """One thing wrong at one place of the query.

    `hint` is a near name or an advice that reads on from the message (it begins with a comma or a semicolon), or empty.
    """

    span: Span
    message: str
    hint: Hint = ""

    @property
    def text(self) -> str:
        """The message with its hint."""
        return f"{self.message}{self.hint}"


class EqlError(Exception):
    """A query that cannot be answered; every finding of the stage that refused it.

    `str()` is Elasticsearch's reason ("line 1:9: Unknown column [x]"; several are preceded by "Found N problems").
    """

    kind = "eql_exception"
    """The `error.type` of the API's answer."""

    def __init__(self, source: Source, findings: Sequence[QueryFinding]) -> None:
        self.source = source
        self.findings = tuple(findings)
        super().__init__()

    def __str__(self) -> str:
        return self.reason()

    def reason(self) -> str:
        lines = []
        for finding in self.findings:
            line, column = self.source.place(finding.span.start)
            lines.append(f"line {line}:{column}: {finding.text}")
        return "\n".join(lines)

    def picture(self, finding: QueryFinding) -> str:
        """The finding's line with carets under its place, ready to print; of a long line the part around the place."""
        return self.source.picture(finding.span, IN_QUERY)


class ParsingError(EqlError):
    """The text is not EQL."""

    kind = "parsing_exception"


class VerificationError(EqlError):
    """The text is EQL, but its fields, types or functions do not fit."""

    kind = "verification_exception"

    def reason(self) -> str:
        count = len(self.findings)
        return f"Found {count} problem{'' if count == 1 else 's'}\n" + super().reason()


class UnsupportedError(EqlError):
    """The query is valid EQL that this engine does not answer; it is refused so that it is never answered wrongly."""

    kind = "unsupported_operation_exception"


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
