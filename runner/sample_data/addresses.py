"""The remote ends of connections: the company's own hosts, services of the internet, and attackers."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from runner.sample_data.catalogues import table


class Endpoint(NamedTuple):
    """The other end of a connection."""

    name: str
    address: str
    port: int
    local_port: int = 0
    """The port on which this host accepted the connection; 0: this host opened it."""


ATTACKERS = ("203.0.113", "198.51.100", "192.0.2", "10.66.6", "172.31.250", "192.168.77")
"""The first three are reserved for documentation (RFC 5737); the others are private."""
ATTACK_PORTS = (4444, 443, 9001, 1337, 8080, 53, 4242, 31337, 8443, 5555)


def service_of_the_internet(rng: Random) -> Endpoint:
    """A public service that hosts ordinarily use."""
    name, block, port = rng.choice(table("internet_services", 3))
    return Endpoint(name, f"{block}.{rng.randrange(1, 255)}", int(port))


def internal_service(rng: Random) -> Endpoint:
    """A service of the company's own network; one in eight by IPv6."""
    name, port = rng.choice(table("internal_services", 2))
    index = rng.randrange(1, 25)
    if rng.random() < 0.125:
        return Endpoint(name.format(index), f"fd12:3456:789a:20::{index:x}", int(port))
    return Endpoint(name.format(index), f"10.40.{rng.randrange(1, 9)}.{index}", int(port))


def client(rng: Random, local_port: int) -> Endpoint:
    """A client of the service on `local_port`."""
    block = rng.choice(("10.30", "10.20", "81.2", "93.184", "145.254"))
    address = f"{block}.{rng.randrange(1, 250)}.{rng.randrange(2, 250)}"
    return Endpoint(f"client-{rng.randrange(1_000)}", address, rng.randrange(32_768, 60_999), local_port)


def loopback(rng: Random, port: int = 0) -> Endpoint:
    """This host itself, at a service that listens for local clients only."""
    address = rng.choice(("127.0.0.1", "127.0.0.1", "::1"))
    return Endpoint("localhost", address, port or rng.choice((5432, 6379, 8000, 8080, 9090, 3306, 11211, 9000)))


def attacker(rng: Random, *, six: bool = False, local_port: int = 0) -> Endpoint:
    """The remote end of a reverse shell, or with `local_port` of a bind shell on that port."""
    if six:
        address = f"2001:db8:{rng.randrange(1, 0xFFFF):x}::{rng.randrange(1, 0xFFFF):x}"
    else:
        address = f"{rng.choice(ATTACKERS)}.{rng.randrange(2, 250)}"
    port = rng.randrange(32_768, 60_999) if local_port else rng.choice(ATTACK_PORTS)
    return Endpoint("", address, port, local_port)
