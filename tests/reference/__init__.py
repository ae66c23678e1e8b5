"""A plain evaluator of EQL, one document at a time, written from the description of the language, not from the engine.

It shares with the engine the parser, the schema, and the reading of single dates, addresses and versions; everything
that a query means on top of these is worked out anew, in the most obvious way.
"""

from tests.reference.engine import FailedSearchError, answer_of

__all__ = ["FailedSearchError", "answer_of"]
