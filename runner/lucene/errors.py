"""What is wrong with a query in Lucene's syntax: `LuceneError` and its kinds."""

from __future__ import annotations

from runner.messages.query_errors import QueryError


class LuceneError(QueryError):
    """A query in Lucene's syntax that cannot be answered; every finding with its place."""


class LuceneSyntaxError(LuceneError):
    """The text cannot be parsed as `query_string` parses it."""


class LuceneFieldError(LuceneError):
    """A search would fail on the type of a field, or the local engine has no such query."""

    code = "query-type"
