"""The network connection of an event, with the scope of the address at each end."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from runner.alerts.event_fields import text_at, value_at

AddressScope = Literal["public", "private", "shared", "loopback", "link-local", "multicast", "unspecified", "unknown"]

# RFC 1918 and RFC 4193. The standard library's `is_private` also holds the documentation ranges.
_PRIVATE: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_SHARED: Final = ipaddress.ip_network("100.64.0.0/10")  # carrier-grade NAT, RFC 6598


@dataclass(frozen=True, slots=True)
class NetworkConnection:
    """A network connection of an event; unknown parts are empty or None."""

    source_ip: str
    source_port: int | None
    destination_ip: str
    destination_port: int | None
    destination_domain: str
    transport: str
    direction: str
    process: str
    source_scope: AddressScope
    destination_scope: AddressScope


def connection_of(document: Mapping[str, Any]) -> NetworkConnection | None:
    """The connection of an event; None if it has neither address nor domain."""
    source, destination = text_at(document, "source.ip"), text_at(document, "destination.ip")
    domain = text_at(document, "destination.domain")
    if not (source or destination or domain):
        return None
    return NetworkConnection(
        source_ip=source,
        source_port=_port(document, "source.port"),
        destination_ip=destination,
        destination_port=_port(document, "destination.port"),
        destination_domain=domain,
        transport=text_at(document, "network.transport"),
        direction=text_at(document, "network.direction"),
        process=text_at(document, "process.name"),
        source_scope=scope_of(source),
        destination_scope=scope_of(destination),
    )


def scope_of(address: str) -> AddressScope:
    """The scope of an address; an IPv4-mapped IPv6 address has that of the IPv4 address.

    >>> scope_of("10.1.2.3"), scope_of("::ffff:127.0.0.1"), scope_of("203.0.113.77")
    ('private', 'loopback', 'public')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    for scope, applies in (
        ("loopback", found.is_loopback),
        ("unspecified", found.is_unspecified),
        ("link-local", found.is_link_local),
        ("multicast", found.is_multicast),
        ("private", any(found in network for network in _PRIVATE)),
        ("shared", found in _SHARED),
    ):
        if applies:
            return scope  # type: ignore[return-value]
    return "public"


def _port(document: Mapping[str, Any], path: str) -> int | None:
    value = value_at(document, path)
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value if isinstance(value, int) else None
