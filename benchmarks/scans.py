"""The baselines: reading the same lines without a search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
from timing import Case


def yardsticks(path: Path) -> list[Case]:
    """Scans that validate the JSON only, with simdjson if it is installed, and full decoding line by line."""
    cases = [Case("bare scan (msgspec, no field)", lambda: _bare(path))]
    try:
        import simdjson
    except ImportError:
        pass
    else:
        parser = simdjson.Parser()
        cases.append(Case("bare scan (simdjson)", lambda: _simdjson(path, parser)))
    cases.append(Case("orjson.loads", lambda: _loads(path)))
    return cases


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=1 << 18) as file:
        yield from file


def _bare(path: Path) -> float:
    class Nothing(msgspec.Struct):
        pass

    decode = msgspec.json.Decoder(Nothing).decode
    for line in _lines(path):
        decode(line)
    return 0.0


def _loads(path: Path) -> float:
    loads = orjson.loads
    for line in _lines(path):
        loads(line)
    return 0.0


def _simdjson(path: Path, parser: Any) -> float:
    parse = parser.parse
    for line in _lines(path):
        parse(line)
    return 0.0
