"""Templates to HTML: every value is escaped, and characters that would not be seen are made visible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from runner.messages.printable import printable
from runner.messages.quantities import length_text

LONGEST_VALUE: Final = 4_000
"""Characters of a value that a page shows: scripts and call traces may have many more."""
_LONGEST_GUIDE: Final = 200_000
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3,9}Z$", re.ASCII)
_LINK_SCHEMES: Final = frozenset({"http", "https"})


@cache
def templates() -> Environment:
    """The templates of the package. Unknown names are errors, every output is escaped."""
    made = Environment(
        loader=PackageLoader("runner.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "moment": moment,
        "stamp": stamp,
        "duration": length_text,
        "gap": gap_text,
        "cut": cut,
        "commas": lambda number: f"{number:,}",
        "markdown": markdown,
        "link": safe_link,
        "path": lambda text: quote(text, safe=""),
        "query": lambda pairs: urlencode(list(pairs.items())),
    }
    return made


def render(template: str, /, **values: Any) -> str:
    """The HTML of a template."""
    return templates().get_template(template).render(**values)


def _visible(value: Any) -> Any:
    """What an output shows: of text the control and bidirectional characters as escapes, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value, but="\n\t")


def moment(value: datetime | str | None) -> str:
    """A time in UTC to the millisecond; a text as it is, "-" for none."""
    if not isinstance(value, datetime):
        return value or "-"
    text = value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return text.removesuffix(".000")


def stamp(value: str) -> str:
    """A time as an alert has it, without the letters of ISO 8601 and without milliseconds of 0."""
    text = cut(value, 40).replace("T", " ", 1)
    return text[:23].removesuffix(".000") if _ISO.match(text) else text


def gap_text(value: timedelta | None) -> str:
    """The time between two events."""
    if value is None:
        return ""
    seconds = value.total_seconds()
    if abs(seconds) < 120:
        return f"{seconds:+.3f} s"
    return f"{'-' if seconds < 0 else '+'}{length_text(abs(value))}"


def cut(value: str, longest: int = LONGEST_VALUE) -> str:
    """The beginning of a long text, with how much there is."""
    if len(value) <= longest:
        return value
    return f"{value[:longest]}… ({len(value):,} characters; the raw document has them)"


def safe_link(text: str) -> str:
    """The address if it is one of the web, else "": no other scheme becomes a link."""
    text = text.strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    is_plain = text.isprintable() and not any(character in text for character in "\"'<>`\\ ")
    return text if parts.scheme.lower() in _LINK_SCHEMES and parts.netloc and is_plain else ""


def markdown(text: str) -> Markup:
    """Markdown as HTML: no HTML of its own, no images, links to the web alone, which tell nobody where they stand."""
    shown = printable(text[:_LONGEST_GUIDE], but="\n\t")
    if len(text) > _LONGEST_GUIDE:
        shown += f"\n\n… ({len(text):,} characters)"
    return Markup(_markdown().render(shown))


@cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20}).enable("table")
    made.disable("image")
    made.validateLink = lambda url: bool(safe_link(url))  # type: ignore[method-assign]
    made.add_render_rule("link_open", _link_open)
    made.add_render_rule("heading_open", _heading)
    made.add_render_rule("heading_close", _heading)
    return made


def _link_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    tokens[index].attrSet("target", "_blank")
    return str(renderer.renderToken(tokens, index, options, env))


def _heading(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """The headings of a guide stand below that of its section."""
    tokens[index].tag = f"h{min(6, int(tokens[index].tag[1]) + 2)}"
    return str(renderer.renderToken(tokens, index, options, env))
