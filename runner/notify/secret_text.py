"""Secrets of notification targets: read from variables and files, found in addresses, so that they can be masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST: Final = 64 * 1024
"""In bytes; far over any secret, and keeps a wrong path (a device, a log) from being read whole."""
_SHORTEST: Final = 5
"""Characters of a part of an address that may be a token; shorter ones are words such as `api`."""
_PLAIN: Final = frozenset(("from", "to", "cc", "bcc", "reply", "name", "smtp", "mode", "format", "overflow", "verify"))
"""Options of apprise's addresses that are no secrets."""
_TOKEN: Final = re.compile(r"(?=.*\d)[\w%~-]{8,}|[\w%~-]{16,}")
"""A part of the path of a web address that is no word."""


class SecretError(Exception):
    """A secret that cannot be read; `str()` is fit to show."""


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """The text with the values of environment variables for `${NAME}`. Raises SecretError for one that is not set.

    >>> expanded("Bearer ${TOKEN}", {"TOKEN": "abc"})
    'Bearer abc'
    """

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if not _NAME.fullmatch(name):
            raise SecretError("`${...}` holds no name of an environment variable")
        if not environ.get(name):
            raise SecretError(f"the environment variable {name} is {'empty' if name in environ else 'not set'}")
        return environ[name]

    return _VARIABLE.sub(value, text)


def read_secret_file(path: Path) -> str:
    """The text in a file, without the line end after it. Raises SecretError."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1).decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise SecretError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError:
        text = ""
    if not text or len(text) > _LARGEST or not text.isprintable():
        raise SecretError(f"expected a secret as one line of text in {path}, found none")
    return text


def secret_parts(url: str) -> tuple[str, ...]:
    """What of an address has to be masked, as it is written and decoded: login, tokens in path and query, all of it.

    The user of a login with a password is no secret, nor is a host with a dot in it.

    >>> secret_parts("slack://tokenA/tokenB")
    ('slack://tokenA/tokenB', 'tokenA', 'tokenB', '/tokenB')
    """
    try:
        parts = urlsplit(url)
        user, password, places = parts.username, parts.password, parts.netloc.rpartition("@")[2].split(":")
    except ValueError:
        return (url,)
    found = [url]
    found += [password] if password else [user] if user else []
    is_plain = parts.scheme in ("http", "https")
    if not is_plain and "." not in places[0] and places[0].lower() != "localhost":
        found += [part for part in places if not part.isdigit() or len(part) >= _SHORTEST]
    names = [part for part in parts.path.split("/") if len(part) >= _SHORTEST]
    found += [part for part in names if not is_plain or _TOKEN.fullmatch(part)]
    found += [parts.path] if len(parts.path) > _SHORTEST else []
    found += [value for name, value in parse_qsl(parts.query) if len(value) >= _SHORTEST and name not in _PLAIN]
    found += [part for part in re.split(r"[&=]", parts.query) if len(part) >= _SHORTEST and "%" in part]
    decoded = [unquote(part) for part in found]
    return tuple(dict.fromkeys(part for part in [*found, *decoded] if part))


def shown_address(url: str) -> str:
    """An address without anything that may be secret: scheme and, of a web address, host.

    >>> shown_address("https://user:pw@hooks.example.org/T0/B1?x=2"), shown_address("slack://token/other")
    ('https://hooks.example.org/...', 'slack://...')
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "..."
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}://..."
    place = f"[{host}]" if ":" in host else host
    rest = "/..." if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{place}{f':{port}' if port else ''}{rest}"
