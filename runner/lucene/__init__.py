"""Lucene's query syntax: text -> tokens -> syntax tree -> conditions over the fields of a schema -> plan.

In a cluster the text itself is sent, in a `query_string` query. Every error is a `LuceneError` with line and column.
"""

from runner.lucene.errors import LuceneError, LuceneFieldError, LuceneSyntaxError
from runner.lucene.program import LuceneQuery, query_dsl
from runner.lucene.program import parse_query as parse
from runner.lucene.program import resolve_query as resolve

__all__ = ["LuceneError", "LuceneFieldError", "LuceneQuery", "LuceneSyntaxError", "parse", "query_dsl", "resolve"]
