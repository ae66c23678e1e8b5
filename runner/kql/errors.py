"""What is wrong with a query in KQL: `KqlError` and its kinds."""

from __future__ import annotations

from runner.messages.query_errors import QueryError


class KqlError(QueryError):
    """A query in KQL that cannot be answered; every finding with its place."""


class KqlSyntaxError(KqlError):
    """The text is not KQL."""


class KqlFieldError(KqlError):
    """The text is KQL, but a search would fail on the type of a field."""

    code = "query-type"
