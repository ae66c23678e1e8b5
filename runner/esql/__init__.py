"""ES|QL as far as it can be read without a cluster: tokens, commands, sources, and what decides a row's identity.

A cluster runs the query; nothing here evaluates one.
"""

from runner.esql.doubts import doubts as doubts
from runner.esql.errors import EsqlError as EsqlError
from runner.esql.query import EsqlQuery as EsqlQuery
from runner.esql.query import parse as parse
from runner.esql.query import sources_of as sources_of
from runner.esql.sent_text import SentText as SentText
from runner.esql.sent_text import sent_text as sent_text
