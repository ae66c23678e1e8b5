"""The remote ends of connections: the company's own hosts, services of the internet, and attackers."""

from __future__ import annotations

from random import Random
from typing import NamedTuple


class Endpoint(NamedTuple):
    """The other end of a connection."""

    name: str
    address: str
    port: int
    local_port: int = 0
    """The port on which this host accepted the connection; 0: this host opened it."""


SERVICES: tuple[tuple[str, str, int], ...] = (
    ("archive.ubuntu.com", "91.189.91", 80),
    ("security.debian.org", "151.101.2", 80),
    ("cdn.redhat.com", "23.45.181", 443),
    ("github.com", "140.82.121", 443),
    ("objects.githubusercontent.com", "185.199.109", 443),
    ("pypi.org", "151.101.64", 443),
    ("files.pythonhosted.org", "199.232.16", 443),
    ("registry.npmjs.org", "104.16.27", 443),
    ("registry-1.docker.io", "54.198.86", 443),
    ("proxy.golang.org", "142.250.74", 443),
    ("ntp.ubuntu.com", "185.125.190", 123),
    ("api.stripe.com", "54.187.216", 443),
    ("hooks.slack.com", "3.68.170", 443),
    ("login.microsoftonline.com", "20.190.160", 443),
    ("outlook.office365.com", "52.98.243", 443),
    ("teams.microsoft.com", "52.123.129", 443),
    ("settings-win.data.microsoft.com", "51.104.136", 443),
    ("www.google.com", "142.250.185", 443),
    ("update.googleapis.com", "142.250.181", 443),
    ("s3.eu-central-1.amazonaws.com", "52.219.47", 443),
)
INTERNAL: tuple[tuple[str, int], ...] = (
    ("es-{:02d}.example.internal", 9200),
    ("fleet-{:02d}.example.internal", 8220),
    ("db-{:02d}.example.internal", 5432),
    ("mariadb-{:02d}.example.internal", 3306),
    ("redis-{:02d}.example.internal", 6379),
    ("kafka-{:02d}.example.internal", 9092),
    ("registry-{:02d}.example.internal", 5000),
    ("git-{:02d}.example.internal", 22),
    ("files-{:02d}.example.internal", 445),
    ("dc-{:02d}.example.internal", 389),
    ("backup-{:02d}.example.internal", 873),
    ("api-{:02d}.example.internal", 8443),
    ("metrics-{:02d}.example.internal", 9090),
)
ATTACKERS = ("203.0.113", "198.51.100", "192.0.2", "10.66.6", "172.31.250", "192.168.77")
"""The first three are reserved for documentation (RFC 5737); the others are private."""
ATTACK_PORTS = (4444, 443, 9001, 1337, 8080, 53, 4242, 31337, 8443, 5555)


def service_of_the_internet(rng: Random) -> Endpoint:
    """A public service that hosts ordinarily use."""
    name, block, port = rng.choice(SERVICES)
    return Endpoint(name, f"{block}.{rng.randrange(1, 255)}", port)


def internal_service(rng: Random) -> Endpoint:
    """A service of the company's own network; one in eight by IPv6."""
    name, port = rng.choice(INTERNAL)
    index = rng.randrange(1, 25)
    if rng.random() < 0.125:
        return Endpoint(name.format(index), f"fd12:3456:789a:20::{index:x}", port)
    return Endpoint(name.format(index), f"10.40.{rng.randrange(1, 9)}.{index}", port)


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
