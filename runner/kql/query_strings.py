r"""Patterns of KQL as texts of `query_string` and of wildcard queries: everything but their stars is literal."""

from __future__ import annotations

import re

from runner.kql.ast import KqlPattern

_SPECIAL = re.compile(r'[-+=&|><!(){}\[\]^"~*?:\\/]')


def escaped_query(pattern: KqlPattern) -> str:
    r"""The pattern with `\` before what is no ordinary character, but for its stars.

    >>> from runner.messages.text_positions import Span
    >>> print(escaped_query(KqlPattern(Span(0, 5), ("a+b", ""))))
    a\+b*
    """
    return "*".join(_SPECIAL.sub(r"\\\g<0>", part) for part in pattern.parts)
