"""What is wrong with a query in ES|QL: `EsqlError`."""

from __future__ import annotations

from runner.messages.query_errors import QueryError


class EsqlError(QueryError):
    """A query in ES|QL that no cluster could run; every finding with its place."""
