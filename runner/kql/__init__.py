"""KQL, the query language of Kibana: text -> syntax tree -> conditions over the fields of a schema -> plan/Query DSL.

`parse`, once per text, then `resolve`, once per schema, give a plan that the engine runs; `query_dsl` gives what Kibana
sends. `search` wraps the whole in the shape of a `_search` answer. Every error is a `KqlError` with line and column.
"""

from runner.kql.errors import KqlError, KqlFieldError, KqlSyntaxError
from runner.kql.program import KqlQuery, query_dsl
from runner.kql.program import parse_query as parse
from runner.kql.program import resolve_query as resolve
from runner.kql.search_api import search

__all__ = ["KqlError", "KqlFieldError", "KqlQuery", "KqlSyntaxError", "parse", "query_dsl", "resolve", "search"]
