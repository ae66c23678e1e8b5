"""The fleet: the hosts that send the sample events, with the sections of a document that are constant on a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any

import orjson

from runner.sample_data.catalogues import table

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


AGENTS = ("8.17.4", "8.18.1", "8.19.3", "9.0.2", "9.1.0")


def build_fleet(rng: Random, size: int) -> tuple[SampleHost, ...]:
    """`size` hosts (8 or more for one of each role); the first one has timestamps in nanoseconds."""
    images = orjson.loads(files(__package__).joinpath("catalogues", "images.json").read_bytes())
    kinds = table("host_kinds", 3)
    counts: Counter[str] = Counter()
    hosts: list[SampleHost] = []
    for index in range(size):
        stem, role, names = kinds[index % len(kinds)]
        counts[stem] += 1
        image = Image(**images[rng.choice(names.split(","))])
        hosts.append(_host(rng, index, name=f"{stem}-{counts[stem]:02d}", role=role, image=image))
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
