"""The checks of single settings: each takes a raw value and returns it as the runner uses it.

Each raises ValueError with what was expected; the caller adds the place and the value found.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from runner.messages.suggestions import did_you_mean
from runner.rules.date_math import read_duration
from runner.selection import RuleSelection, SelectionError, joined, read_selection
from runner.settings.moments import read_moment


def items_of(separator: str) -> Callable[[object], tuple[str, ...]]:
    """A check that splits a text at `separator`; a list stays as it is."""

    def split(value: object) -> tuple[str, ...]:
        if isinstance(value, (list, tuple)):
            return tuple(map(str, value))
        return tuple(item.strip() for item in str(value).split(separator) if item.strip())

    return split


def choice_of(*names: str) -> Callable[[object], str]:
    """A check that lets one of `names` through, in any letter case."""

    def choose(value: object) -> str:
        text = str(value).strip().lower()
        if text in names:
            return text
        raise ValueError(f"expected {' or '.join(names)}{did_you_mean(text, names)}")

    return choose


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """A check for a number from `low` to `high`, both included."""

    def number(value: object) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return number


def duration(low: timedelta, example: str) -> Callable[[object], timedelta]:
    """A check for a length of time of at least `low`, written as in a rule's `interval`."""

    def span(value: object) -> timedelta:
        expected = f"expected a duration such as {example}"
        try:
            found = value if isinstance(value, timedelta) else read_duration(str(value).strip())
        except ValueError as error:
            raise ValueError(expected) from error
        if found < low:
            raise ValueError(f"{expected}, at least {low.total_seconds():g} s")
        return found

    return span


def retention(value: object) -> timedelta | None:
    """A length of time of at least a day that something is kept; None for `forever`."""
    if value is None or str(value).strip().lower() == "forever":
        return None
    try:
        return duration(timedelta(days=1), "90d")(value)
    except ValueError as error:
        raise ValueError(f"{error}, or forever") from None


def keeping(value: object) -> timedelta | None:
    """A length of time of at least an hour that something is kept; None for `off`."""
    if value is None or str(value).strip().lower() == "off":
        return None
    try:
        return duration(timedelta(hours=1), "7d")(value)
    except ValueError as error:
        raise ValueError(f"{error}, or off") from None


def switch(value: object) -> bool:
    """True or false, from the words that people write for them."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    text = str(value).strip().lower()
    if text not in words:
        raise ValueError("expected true or false")
    return words[text]


def url(port: int | None) -> Callable[[object], str]:
    """A check that returns `scheme://host[:port][/prefix]`.

    Without a scheme it is https, as a cluster speaks by default; without a port it is `port`, as in Beats.
    """

    def address(value: object) -> str:
        text = str(value).strip()
        expected = f"expected http(s)://host:{port or 5601}"
        try:
            parts = urlsplit(text if "://" in text else f"https://{text}")
            given_port, host = parts.port, parts.hostname
        except ValueError:
            # The text of this error may quote the whole address, and a password with it.
            raise ValueError(expected) from None
        if "@" in parts.netloc:
            raise ValueError(f"{expected} without a user; give user and password as settings of their own")
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{expected}, not the scheme `{parts.scheme}`")
        if not host or re.search(r"[\s,;\\]", text) or parts.query or parts.fragment:
            raise ValueError(expected)
        name = f"[{host}]" if ":" in host else host
        chosen = given_port if given_port is not None else port
        return f"{parts.scheme}://{name}{'' if chosen is None else f':{chosen}'}{parts.path.rstrip('/')}"

    return address


def listen_address(value: object) -> str:
    """`host:port` to listen at, `[address]:port` for IPv6, or `off`; `*` is every address of the machine."""
    text = str(value).strip()
    if text.lower() == "off":
        return "off"
    host, _, port = text.rpartition(":")
    name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_name = bool(re.fullmatch(r"[A-Za-z0-9._-]+|\*", host)) or (name != host and ":" in name)
    if not is_name or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError("expected host:port, such as 127.0.0.1:9722, or off")
    return f"{'0.0.0.0' if host == '*' else host}:{int(port)}"


def hosts(value: object) -> tuple[str, ...]:
    """The URLs of a cluster's nodes, from a list with commas."""
    return tuple(map(url(9200), items_of(",")(value)))


def proxy(value: object) -> str:
    """The URL of an HTTP proxy, `http://[user:password@]host[:port]`; `http://` may be left out."""
    text = (value.get_secret_value() if isinstance(value, SecretStr) else str(value)).strip()
    expected = "expected http://[user:password@]host:port"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        usable = parts.hostname and parts.port != 0 and not (parts.path.strip("/") or parts.query or parts.fragment)
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme != "http":
        # Only kinds that are known are named: what stands there otherwise may be anything, a password even.
        kind = parts.scheme if parts.scheme in ("https", "socks4", "socks5", "socks5h") else "other"
        raise ValueError(f"{expected}; {kind} proxies are not supported")
    if not usable or re.search(r"[\s\\]", text):
        raise ValueError(expected)
    return parts.geturl().rstrip("/")


def moment(value: object) -> datetime | Literal["latest"]:
    """A time in UTC, or `latest`."""
    if isinstance(value, str) and value.strip().lower() == "latest":
        return "latest"
    try:
        found = value if isinstance(value, datetime) else read_moment(str(value).strip(), datetime.now(UTC))
    except ValueError as error:
        raise ValueError(f"expected latest or a time: {error}") from error
    # A time without an offset is UTC, as in Elasticsearch.
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def readable_or_off(value: object) -> Path:
    """A file that can be read, or the path `off`."""
    return Path("off") if str(value).strip().lower() == "off" else readable_file(value)


def stream_place(value: object) -> str:
    """`-` for standard output, or the path of a file, whose folder is there when it is written to."""
    text = str(value).strip()
    if "\0" in text:
        raise ValueError("expected the path of a file, or -")
    return text if text == "-" else str(path_of(text))


def path_of(value: object) -> Path:
    """The path, with `~` as the home folder; `~name` stays as it is where there is no such user."""
    path = Path(str(value))
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def readable_file(value: object) -> Path:
    """The path of a file that is there and may be read."""
    path = path_of(value)
    expected = "expected a file that can be read"
    if not path.is_file():
        raise ValueError(f"{expected}, {'this is none' if path.exists() else 'there is none'}")
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ValueError(f"{expected} ({error.strerror})") from error


def state_file(value: object) -> Path:
    """The path of the state file, which need not be there yet."""
    path = path_of(value)
    if path.is_dir():
        raise ValueError(f"expected a file, this is a folder; perhaps {path / 'rule-runner.db'}")
    return path


def paths(value: object) -> tuple[Path, ...]:
    """Paths from a list as in `PATH`; `~` is the home folder."""
    return tuple(map(path_of, items_of(os.pathsep)(value)))


def selection(value: object) -> RuleSelection:
    """The rules that one or more expressions select."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    found = []
    for text in map(str, texts):
        try:
            found.append(read_selection(text))
        except SelectionError as error:
            raise ValueError(f"at character {error.offset + 1}: {error}") from None
    return joined(found)


def fingerprint(value: object) -> str:
    """A SHA-256 fingerprint as 64 lower-case hexadecimal digits."""
    text = str(value).replace(":", "").strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("expected a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")
    return text


def space_id(value: object) -> str:
    """The id of a Kibana space."""
    if not re.fullmatch(r"[a-z0-9_-]+", text := str(value).strip()):
        raise ValueError("expected the id of a Kibana space: lower-case letters, digits, _ and -")
    return text


def index_name(value: object) -> str:
    """The name of one index or alias."""
    text = str(value).strip()
    if not re.fullmatch(r"[a-z0-9.][a-z0-9._-]{0,254}", text) or text in (".", ".."):
        raise ValueError("expected an index or alias name: lower-case letters, digits, '.', '_' and '-', no wildcard")
    return text


def instance_name(value: object) -> str:
    """A name for one runner among several."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text := str(value).strip()):
        raise ValueError("expected up to 100 letters, digits, '.', '_' and '-'")
    return text


def person(value: object) -> str:
    """A person's name or login."""
    text = str(value).strip()
    if not 0 < len(text) <= 200 or not text.isprintable():
        raise ValueError("expected a name of up to 200 printable characters")
    return text


def token(value: object) -> str:
    """A credential that goes into a header as it is."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not re.fullmatch(r"[!-~]+", text := text.strip()):
        raise ValueError("expected printable characters without spaces")
    return text


def web_token(value: object) -> str:
    """A credential that a person pastes, long enough that it cannot be guessed."""
    text = token(value)
    if len(text) < 16:
        raise ValueError("expected at least 16 characters")
    return text


def api_key(value: object) -> str:
    """The key as the `Authorization` header wants it; `id:key` is encoded."""
    text = token(value)
    return base64.b64encode(text.encode()).decode() if ":" in text else text
