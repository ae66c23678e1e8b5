"""What is wrong with a query, of whatever language: `QueryError`, the parent of the errors of each front end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.messages.suggestions import Hint
from runner.messages.text_positions import IN_QUERY, OtherPlace, Source, Span


@dataclass(frozen=True, slots=True)
class QueryFinding:
    """One thing wrong at one place of the query.

    `hint` is a near name or an advice that reads on from the message (it begins with a comma or a semicolon), or empty.
    """

    span: Span
    message: str
    hint: Hint = ""
    code: str = ""
    """The kind of the finding; that of its error if empty."""
    other: OtherPlace | None = None
    """A second place that belongs to it, before the first: the bracket that is not closed."""

    @property
    def text(self) -> str:
        """The message with its hint."""
        return f"{self.message}{self.hint}"


class QueryError(Exception):
    """A query that cannot be answered; every finding of the stage that refused it.

    `str()` has a line for each, as Elasticsearch words them ("line 1:9: Unknown column [x]").
    """

    code = "query-syntax"
    """The code of findings that have none of their own."""

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
        """The finding's line with carets under its places, ready to print; of a long line the part around a place."""
        return self.source.picture(finding.span, IN_QUERY, other=finding.other)
