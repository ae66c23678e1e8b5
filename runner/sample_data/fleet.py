"""The fleet: the hosts that send the sample events, with the sections of a document that are constant on a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

Section = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """An installed operating system; hosts with the same image have the same files, hence the same hashes."""

    type: str
    platform: str
    family: str
    variant: str
    version: str
    kernel: str
    shell: str
    """What `/bin/sh` resolves to."""
    cron: str
    web_user: str
    python: str


@dataclass(frozen=True, slots=True)
class SampleHost:
    """A host: its address, its constant sections and the resolution of its agent's timestamps."""

    name: str
    role: str
    image: Image
    address: str
    address6: str
    digits: int
    """Decimals of a second in `@timestamp`: 3 (milliseconds), 7 (100 ns, as Windows counts) or 9."""
    agent_id: str
    sections: Mapping[str, Section]
    """`agent`, `elastic` and `host`, as every document of the host has them."""

    @property
    def linux(self) -> bool:
        """Whether it runs Linux."""
        return self.image.type == "linux"


UBUNTU = Image(
    "linux", "ubuntu", "debian", "Ubuntu", "24.04.2", "6.8.0-57-generic #59-Ubuntu SMP PREEMPT_DYNAMIC",
    "/usr/bin/dash", "cron", "www-data", "/usr/bin/python3.12",
)  # fmt: skip
JAMMY = Image(
    "linux", "ubuntu", "debian", "Ubuntu", "22.04.5", "5.15.0-136-generic #147-Ubuntu SMP",
    "/usr/bin/dash", "cron", "www-data", "/usr/bin/python3.10",
)  # fmt: skip
DEBIAN = Image(
    "linux", "debian", "debian", "Debian", "12.10", "6.1.0-33-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.133-1",
    "/usr/bin/dash", "cron", "www-data", "/usr/bin/python3.11",
)  # fmt: skip
RHEL = Image(
    "linux", "rhel", "redhat", "Red Hat Enterprise Linux", "9.5", "5.14.0-503.40.1.el9_5.x86_64 #1 SMP",
    "/usr/bin/bash", "crond", "apache", "/usr/bin/python3.9",
)  # fmt: skip
SERVER = Image(
    "windows", "windows", "windows", "Windows Server 2022 Datacenter", "21H2 (10.0.20348.3453)",
    "21H2 (10.0.20348.3453)", "", "", "", "",
)  # fmt: skip
CLIENT = Image(
    "windows", "windows", "windows", "Windows 11 Pro", "24H2 (10.0.26100.3775)",
    "24H2 (10.0.26100.3775)", "", "", "", "",
)  # fmt: skip

HOST_KINDS: tuple[tuple[str, str, tuple[Image, ...]], ...] = (
    ("web", "web", (UBUNTU, DEBIAN)),
    ("db", "db", (RHEL, DEBIAN)),
    ("WKS-FIN", "workstation", (CLIENT,)),
    ("build", "build", (UBUNTU, JAMMY)),
    ("k8s-node", "container", (UBUNTU,)),
    ("DC", "domain", (SERVER,)),
    ("app", "app", (RHEL, UBUNTU)),
    ("bastion", "bastion", (DEBIAN,)),
    ("web", "web", (JAMMY, RHEL)),
    ("WKS-ENG", "workstation", (CLIENT,)),
    ("monitor", "app", (DEBIAN,)),
    ("SQL", "server", (SERVER,)),
    ("app", "app", (DEBIAN, RHEL)),
)
AGENTS = ("8.17.4", "8.18.1", "8.19.3", "9.0.2", "9.1.0")


def build_fleet(rng: Random, size: int) -> tuple[SampleHost, ...]:
    """`size` hosts (8 or more for one of each role); the first one has timestamps in nanoseconds."""
    counts: Counter[str] = Counter()
    hosts: list[SampleHost] = []
    for index in range(size):
        stem, role, images = HOST_KINDS[index % len(HOST_KINDS)]
        counts[stem] += 1
        hosts.append(_host(rng, index, name=f"{stem}-{counts[stem]:02d}", role=role, image=rng.choice(images)))
    return tuple(hosts)


def _host(rng: Random, index: int, *, name: str, role: str, image: Image) -> SampleHost:
    agent_id = uuid_text(rng)
    linux = image.type == "linux"
    address = f"10.20.{10 + index // 200}.{11 + index % 200}"
    address6 = f"fd12:3456:789a:{index // 200 + 1:x}::{11 + index % 200:x}"
    mac = "-".join(("00", "16", "3E", *(f"{rng.getrandbits(8):02X}" for _ in range(3))))
    interface = "fe80::216:3eff:fe" + mac[9:11].lower() + ":" + mac[12:14].lower() + mac[15:17].lower()
    system = {
        "Ext": {"variant": image.variant},
        "family": image.family,
        "full": f"{image.variant} {image.version}",
        "kernel": image.kernel,
        "name": "Linux" if linux else "Windows",
        "platform": image.platform,
        "type": image.type,
        "version": image.version,
    }
    host = {
        "architecture": "x86_64",
        "hostname": name,
        "id": f"{rng.getrandbits(128):032x}" if linux else uuid_text(rng),
        "ip": ["127.0.0.1", "::1", address, interface] if linux else [address, interface, "127.0.0.1", "::1"],
        "mac": [mac],
        "name": name,
        "os": system,
    }
    digits = (9, 7, 9, 3)[index % 4] if linux else 7
    sections: dict[str, Section] = {
        "agent": {"id": agent_id, "type": "endpoint", "version": rng.choice(AGENTS)},
        "elastic": {"agent": {"id": agent_id}},
        "host": host,
    }
    return SampleHost(name, role, image, address, address6, digits, agent_id, sections)


def uuid_text(rng: Random) -> str:
    """A random UUID (version 4) as text."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
