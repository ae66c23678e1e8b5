"""The two seed rules written out as plain Python, a document at a time, apart from any engine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from fnmatch import translate
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

Document = dict[str, Any]
Match = tuple[str, str, str]
"""The rule's id and the event ids of both stages."""

REVERSE_SHELL = "48b3d2e3-f4e8-41e6-95e6-9b2091228db3"
CHILD_PROCESS = "76e4d92b-61c1-4a95-ab61-5fd94179a1ee"
MAXSPAN = 1_000_000_000

SHELLS = ("bash", "dash", "sh", "tcsh", "csh", "zsh", "ksh", "fish")
UTILITY_PARENTS = (
    *SHELLS, "python*", "php*", "perl", "ruby", "lua*", "openssl", "nc", "netcat", "ncat", "telnet", "awk",
)  # fmt: skip
CONNECTING = ("python*", "php*", "perl", "ruby", "lua*", "openssl", "nc", "netcat", "ncat", "telnet", "awk")
EXCLUDED: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(block) for block in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1")
)


def matches_of(documents: Iterable[Document]) -> set[Match]:
    """Return every match of the two rules in documents that come in the order of time."""
    found: set[Match] = set()
    pending: dict[tuple[str, ...], tuple[int, str]] = {}
    for document in documents:
        if value(document, "host.os.type") != "linux":
            continue
        at, event_id, host = nanoseconds(document), document["event"]["id"], value(document, "host.id")
        entity, parent = value(document, "process.entity_id"), value(document, "process.parent.entity_id")
        for rule, second, first, end_key, begin_key in (
            (REVERSE_SHELL, shell_starts, shell_connects, parent, entity),
            (CHILD_PROCESS, utility_connects, utility_starts, entity, entity),
        ):
            if end_key is not None and second(document):
                begun = pending.pop((rule, host, end_key), None)
                if begun is not None and at - begun[0] <= MAXSPAN:
                    found.add((rule, begun[1], event_id))
            if begin_key is not None and first(document):
                pending[(rule, host, begin_key)] = (at, event_id)
    return found


def shell_connects(document: Document) -> bool:
    """First stage of the first rule."""
    address = value(document, "destination.ip")
    return (
        connects(document)
        and like(document, "process.name", *SHELLS, "socat")
        and address is not None
        and address not in ("127.0.0.1", "::1")
    )


def shell_starts(document: Document) -> bool:
    """Second stage of the first rule."""
    return (
        has(document, "event.category", "process")
        and has(document, "event.type", "start")
        and like(document, "event.action", "exec", "fork")
        and like(document, "process.name", *SHELLS)
        and like(document, "process.parent.name", *SHELLS, "socat")
    )


def utility_starts(document: Document) -> bool:
    """First stage of the second rule."""
    return (
        has(document, "event.category", "process")
        and has(document, "event.type", "start")
        and (has(document, "event.action", "exec") or has(document, "event.action", "fork"))
        and like(document, "process.parent.name", *UTILITY_PARENTS)
        and utility_is_one(document)
    )


def utility_is_one(document: Document) -> bool:
    """The alternatives of the first stage of the second rule."""

    def args(*patterns: str) -> bool:
        return like(document, "process.args", *patterns)

    def name(*patterns: str) -> bool:
        return like(document, "process.name", *patterns)

    count = value(document, "process.args_count") or 0
    return (
        (name("python*") and args("-c") and args("*import*pty*spawn*", "*import*subprocess*call*"))
        or (name("perl*") and args("-e") and args("*socket*") and args("*exec*", "*system*"))
        or (name("ruby*") and args("-e", "-rsocket") and args("*TCPSocket.new*", "*TCPSocket.open*"))
        or (name("lua*") and args("-e") and args("*socket.tcp*") and args("*io.popen*", "*os.execute*"))
        or (name("php*") and args("-r") and args("*fsockopen*") and args("*/bin/*sh*"))
        or (name("awk", "gawk", "mawk", "nawk") and args("*/inet/tcp/*"))
        or (name("openssl") and args("-connect"))
        or (
            name("nc", "ncat", "netcat")
            and has(document, "process.args", "-e")
            and count >= 3
            and not has(document, "process.args", "-z")
        )
        or (name("telnet") and count >= 3)
    )


def utility_connects(document: Document) -> bool:
    """Second stage of the second rule."""
    address = value(document, "destination.ip")
    return (
        connects(document)
        and like(document, "process.name", *CONNECTING)
        and address is not None
        and not any(ip_address(address) in block for block in EXCLUDED)
    )


def connects(document: Document) -> bool:
    """What both rules ask of a network event."""
    return (
        has(document, "event.category", "network")
        and has(document, "event.type", "start")
        and (
            has(document, "event.action", "connection_attempted")
            or has(document, "event.action", "connection_accepted")
        )
    )


def value(document: Document, name: str) -> Any:
    """Return what stands under a dotted name, or None."""
    found: Any = document
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def values(document: Document, name: str) -> list[Any]:
    """Return the value or values under a dotted name."""
    found = value(document, name)
    return [] if found is None else list(found) if isinstance(found, list | tuple) else [found]


def has(document: Document, name: str, wanted: str) -> bool:
    """`name == wanted` for any value."""
    return wanted in values(document, name)


def like(document: Document, name: str, *patterns: str) -> bool:
    """`name : (patterns)` for any value."""
    return any(pattern_for(pattern).match(text) for text in values(document, name) for pattern in patterns)


@cache
def pattern_for(pattern: str) -> re.Pattern[str]:
    """Return the regular expression for a pattern with `*`, whatever the case."""
    assert "?" not in pattern and "[" not in pattern
    return re.compile(translate(pattern), re.IGNORECASE | re.DOTALL)


def nanoseconds(document: Document) -> int:
    """Return `@timestamp` in nanoseconds since 1970."""
    text, _, fraction = document["@timestamp"].rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))
