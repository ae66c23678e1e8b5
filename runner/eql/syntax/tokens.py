"""A query's text as tokens, by one compiled expression; the rules are those of Elasticsearch's `EqlBase.g4`."""

from __future__ import annotations

import re
from typing import NamedTuple

from runner.eql.syntax.errors import QueryFinding
from runner.messages.lookalikes import described, meant
from runner.messages.text_positions import Span

KEYWORDS = (
    "and", "any", "by", "false", "in", "in~", "join", "like", "like~", "maxspan", "not", "null", "of", "or", "regex",
    "regex~", "sample", "sequence", "true", "until", "where", "with",
)  # fmt: skip
OPERATORS = (
    ":", "=", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", ".", ",", "[", "]", "(", ")", "|", "?", "![",
)  # fmt: skip
STRING, INTEGER, DECIMAL = "STRING", "INTEGER_VALUE", "DECIMAL_VALUE"
IDENTIFIER, QUOTED_IDENTIFIER, TILDE_IDENTIFIER = "IDENTIFIER", "QUOTED_IDENTIFIER", "TILDE_IDENTIFIER"
END, UNKNOWN = "<EOF>", "UNKNOWN"

_NAMED = (STRING, INTEGER, DECIMAL, IDENTIFIER, QUOTED_IDENTIFIER, TILDE_IDENTIFIER)
_ORDER = {kind: place for place, kind in enumerate((END, *KEYWORDS, *OPERATORS, *_NAMED))}
_KEYWORD_SET = frozenset(KEYWORDS)


class Token(NamedTuple):
    """One token. `kind` is the keyword or operator itself, else one of the names above; `text` is as written."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)


class Tokens(NamedTuple):
    """All tokens, the last of kind END; or, where the text stops being EQL, of kind UNKNOWN, and why."""

    tokens: list[Token]
    finding: QueryFinding | None


# Possessive quantifiers: no alternative is ever retried, so the time is linear whatever the text.
_PATTERN = re.compile(
    r"""
    [ \t\r\n]*+ (?:
      (?P<BLANK>     //[^\r\n]*+ )
    | (?P<COMMENT>   /\* )
    | (?P<WORD>      [A-Za-z_@][A-Za-z0-9_]*+ )
    | (?P<RAW>       \"\"\"[^\r\n]*?\"\"\"\"?\"? )
    | (?P<TEXT>      "(?!"")[^"\\\r\n]*+(?:\\(?:[btnfr"'\\]|u\{[0-9A-Fa-f]++\})[^"\\\r\n]*+)*+" )
    | (?P<DECIMAL>   [0-9]++\.[0-9]*+(?:[eE][+-]?[0-9]++)? | \.[0-9]++(?:[eE][+-]?[0-9]++)? | [0-9]++[eE][+-]?[0-9]++ )
    | (?P<INTEGER>   [0-9]++ )
    | (?P<QUOTED>    `[^`]*+(?:``[^`]*+)*+` )
    | (?P<OPERATOR>  !\[ | == | != | <= | >= | [:=<>+\-*/%.,\[\]()|?] )
    | (?P<SINGLE>    '(?:\\[btnfr"'\\]|[^'\\\r\n])*+' )
    | (?P<END>       \Z )
    | (?P<OTHER>     . ) )
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS = {"RAW": STRING, "TEXT": STRING, "DECIMAL": DECIMAL, "INTEGER": INTEGER, "QUOTED": QUOTED_IDENTIFIER}
_LINE_END = re.compile(r"[\r\n]")
_CHAR_HINTS = {
    "&": "; a conjunction is written [and]",
    "!": "; a negation is written [not]",
    "'": "; strings stand in double quotes",
    "`": "; the quoted name is not closed",
    "$": "; a name with such characters stands in backquotes",
    ";": "; a query ends without it",
    "#": "; a comment begins with [//]",
    "~": '; whatever the letter case is written [: "..."], [like~ "..."], [in~ (...)]',
    "{": "; parentheses are written [(] and [)]",
    "\\": '; a backslash stands in strings only: ["C:\\\\Windows"], or ["""C:\\Windows"""]',
}
_CLOSING_QUOTES = re.compile('[^\r\n"]*?[\u201d\u201c\u2019\u2018\u00bb]')
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_STRING_START = re.compile(
    r"\"[^\"\\\r\n]*+(?:\\(?:[btnfr\"'\\]|u\{[0-9A-Fa-f]++\})[^\"\\\r\n]*+)*+(?:\\(?:u(?:\{[0-9A-Fa-f]*+)?)?)?"
)
_UNFINISHED = re.compile(r"\\(?:u(?:\{[0-9A-Fa-f]*)?)?\Z")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "'": "'", "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:u\{([0-9A-Fa-f]+)\}|(.))")


def tokenize(text: str) -> Tokens:
    """The tokens of `text` without blanks and comments; they end early, with a finding, where the text is no token.

    >>> [token.kind for token in tokenize('any where pid == 4').tokens]
    ['any', 'where', 'IDENTIFIER', '==', 'INTEGER_VALUE', '<EOF>']
    """
    tokens: list[Token] = []
    end = 0
    while True:
        found = _PATTERN.match(text, end)
        assert found is not None and found.lastgroup is not None
        group, written = found.lastgroup, found[found.lastgroup]
        end = found.end()
        start = end - len(written)
        if group == "WORD":
            if text.startswith("~", end) and written[0] not in "_@":  # a tilde that follows at once belongs to it
                end += 1
                written += "~"
                kind = written if written in _KEYWORD_SET else TILDE_IDENTIFIER
            else:
                kind = written if written in _KEYWORD_SET else IDENTIFIER
            tokens.append(Token(kind, written, start, end))
        elif group == "COMMENT":
            closing = _comment_end(text, start)
            if closing is None:
                message, hint = "token recognition error at: '/*'", "; the comment is not closed"
                tokens.append(Token(UNKNOWN, written, start, end))
                return Tokens(tokens, QueryFinding(Span(start, len(text)), message, hint))
            end = closing
        elif group == "END":
            tokens.append(Token(END, END, end, end))
            return Tokens(tokens, None)
        elif group in ("SINGLE", "OTHER"):
            tokens.append(Token(UNKNOWN, written[0], start, start + 1))
            return Tokens(tokens, _unreadable(text, start, end if group == "SINGLE" else None))
        elif group != "BLANK":
            tokens.append(Token(_KINDS.get(group, written), written, start, end))


def _comment_end(text: str, start: int) -> int | None:
    """Where the block comment that opens at `start` ends; None if it does not.

    Comments nest. Where the openings outnumber the closings (`/* in /tmp/* */`), the last closing ends the comment:
    that is the longest text that the grammar's rule accepts.
    """
    depth, last = 0, None
    for edge in _COMMENT_EDGE.finditer(text, start):
        if edge.group() == "/*":
            depth += 1
            continue
        depth -= 1
        last = edge.end()
        if depth == 0:
            return last
    return last


def _unreadable(text: str, start: int, end: int | None) -> QueryFinding:
    """Why there is no token at `start`; `end` is where a string in single quotes ends."""
    char = text[start]
    if end is not None:
        if text[start - 1 : start] == "?":
            return QueryFinding(Span(start - 1, end), old_raw_string(char))
        return QueryFinding(Span(start, end), "Use double quotes [\"] to define string literals, not single quotes [']")
    if looks := described(char):
        closing = _CLOSING_QUOTES.match(text, start + 1) if meant(char) in ("'", '"') else None
        span = Span(start, closing.end() if closing else start + 1)
        return QueryFinding(span, f"token recognition error at: '{char}'", f"; this is {looks}")
    stop, hint = start, _CHAR_HINTS.get(char, "" if char.isascii() else _CHAR_HINTS["$"])
    if text.startswith('"""', start):
        stop = _line_end(text, start)
        hint = "; a raw string ends in three double quotes, on the same line"
    elif char == '"':
        readable = _STRING_START.match(text, start)
        stop = readable.end() if readable else start
        hint = _string_hint(text[start:stop], text[stop : stop + 1])
    elif char in "'`":
        stop = _line_end(text, start)
    elif char == "!":
        stop = start + 1
    piece = text[start : stop + 1]
    return QueryFinding(Span(start, start + len(piece)), f"token recognition error at: '{_shown(piece)}'", hint)


def _string_hint(read: str, following: str) -> str:
    """What is wrong with a string that could be read up to `following`."""
    escape = _UNFINISHED.search(read)
    if escape is None or following in ("", "\r", "\n"):
        return "; the string is not closed"
    if escape.group() == "\\":
        return '; write a backslash as [\\\\], or use a raw string ["""..."""]'
    return "; a character is written as [\\u{...}] with 2 to 8 hex digits"


def _line_end(text: str, start: int) -> int:
    end = _LINE_END.search(text, start)
    return end.start() if end else len(text)


def _shown(piece: str) -> str:
    """A piece of the text with line ends and tabs made visible, cut to a length for a message."""
    cut = piece if len(piece) <= 80 else piece[:80] + "..."
    return cut.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def old_raw_string(quote: str) -> str:
    """The message for `?"..."`, the raw strings of an earlier EQL."""
    return f'Use triple double quotes ["""] to define unescaped string literals, not [?{quote}]'


def expected(kinds: set[str] | frozenset[str]) -> str:
    """Kinds of tokens as a message lists them: `'and'`, or `{<EOF>, 'and', STRING}` in the grammar's order."""
    named = [kind if kind in _NAMED or kind == END else f"'{kind}'" for kind in sorted(kinds, key=_ORDER.__getitem__)]
    return named[0] if len(named) == 1 else "{" + ", ".join(named) + "}"


def read_string(token: Token) -> str:
    """The value of a string token. Raises ValueError with Elasticsearch's text for a bad `\\u{...}`."""
    written = token.text
    if written.startswith('"""'):
        return written[3:-3]
    if "\\" not in written:
        return written[1:-1]
    return _ESCAPE.sub(_unescaped, written[1:-1])


def offset_in_string(written: str, offset: int) -> int:
    """Where in a string as it is written the character of its value at `offset` stands; after the last: its end."""
    if written.startswith('"""'):
        return min(3 + offset, len(written) - 3)
    place, left = 1, offset
    while left > 0 and place < len(written) - 1:
        escape = _ESCAPE.match(written, place)
        place = escape.end() if escape else place + 1
        left -= 1
    return place


def _unescaped(escape: re.Match[str]) -> str:
    digits = escape.group(1)
    if digits is None:
        return _ESCAPES[escape.group(2)]
    if not 2 <= len(digits) <= 8:
        raise ValueError(f"Unicode sequence should use [2-8] hex digits, [{escape.group()}] has [{len(digits)}]")
    code = int(digits, 16)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError(f"Invalid unicode character code, [{escape.group()}] is a surrogate code")
    if code > 0x10FFFF:
        raise ValueError(f"Invalid unicode character code [{digits}]")
    return chr(code)


def read_number(token: Token) -> int | float:
    """The value of a number token: an integer up to unsigned 64 bits, else a double. Raises ValueError beyond that."""
    if token.kind == INTEGER and len(token.text.lstrip("0")) <= 20:
        number = int(token.text.lstrip("0") or "0")
        if number < 2**64:
            return number
    value = float(token.text)
    if value == float("inf"):
        raise ValueError(f"Number [{_shown(token.text)}] is too large")
    return value
