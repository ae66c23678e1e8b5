"""Text that cannot control a terminal."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""DEL, C1 controls, what changes the direction of text, separators of lines, and what has no width."""


def printable(text: str, *, but: str = "") -> str:
    r"""The text with control and bidirectional characters escaped, those in `but` excepted.

    An attacker may have written the values of events: they must not control the terminal.

    >>> printable("a\x1b[31m\u202eb\n", but="\n")
    'a\\x1b[31m\\u202eb\n'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in but else char.encode("unicode_escape").decode() for char in text
    )


def escaped_json(text: str) -> str:
    r"""The JSON text with control and bidirectional characters as `\u` escapes: its value is the same.

    JSON lets those from U+007F on stand as they are.

    >>> escaped_json('"\u202e"')
    '"\\u202e"'
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
