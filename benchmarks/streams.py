"""Streams: the same events in different wrappings, searched with the seed rules; peak memory and rate of each.

`python benchmarks/streams.py [EVENTS]` prints the figures.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from runner.events.files.compression import zstd
from runner.sample_data.write import write_sample

ROOT = Path(__file__).resolve().parent.parent
_MEMORY = Path(__file__).with_name("memory.py")
_HOSTS = 8


def stream_costs(events: int) -> dict[str, float]:
    """Seconds and peak megabytes of a search by wrapping, and of four times as many events in a plain file, which
    should take no more memory."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="rule-runner-bench-") as folder:
        plain = Path(folder, "events.ndjson")
        end = datetime(2026, 3, 1, 12, tzinfo=UTC)
        write_sample(plain, events=events, attacks=5, seed=1, end=end)
        for name, wrap in _WRAPPINGS.items():
            target = Path(folder, "wrapped")
            target.mkdir()
            wrap(plain, target)
            started = time.perf_counter()
            command = [sys.executable, str(_MEMORY), str(target), str(ROOT / "rules" / "linux")]
            found[f"{name}: peak (MB)"] = float(subprocess.run(command, check=True, capture_output=True).stdout)
            found[f"{name}: s"] = time.perf_counter() - started
            shutil.rmtree(target)
    return found


def _plain(source: Path, folder: Path) -> None:
    shutil.copy(source, folder / "events.ndjson")


def _four_times(source: Path, folder: Path) -> None:
    with (folder / "events.ndjson").open("wb") as file:
        for _ in range(4):
            file.write(source.read_bytes())


def _gzip(source: Path, folder: Path) -> None:
    with source.open("rb") as text, gzip.open(folder / "events.ndjson.gz", "wb", compresslevel=1) as packed:
        shutil.copyfileobj(text, packed)


def _zstd(source: Path, folder: Path) -> None:
    with source.open("rb") as text, zstd.ZstdFile(folder / "events.ndjson.zst", "wb") as packed:
        shutil.copyfileobj(text, packed)


def _hosts(source: Path, folder: Path) -> None:
    """Several files of the same time, read side by side."""
    files = [(folder / f"host-{number}.ndjson").open("wb") for number in range(_HOSTS)]
    with source.open("rb") as text:
        for number, line in enumerate(text):
            files[number % _HOSTS].write(line)
    for file in files:
        file.close()


def _rotated(source: Path, folder: Path) -> None:
    """Several files one after the other."""
    lines = source.read_bytes().splitlines(keepends=True)
    part = len(lines) // _HOSTS + 1
    for number in range(_HOSTS):
        name = f"events.log.{_HOSTS - number}"
        (folder / name).write_bytes(b"".join(lines[number * part : (number + 1) * part]))


def _array(source: Path, folder: Path) -> None:
    with source.open("rb") as text, (folder / "events.json").open("wb") as out:
        out.write(b"[" + b",\n".join(line.rstrip() for line in text) + b"]")


def _printed(source: Path, folder: Path) -> None:
    """A saved search answer, printed over many lines."""
    with source.open("rb") as text, (folder / "events.json").open("w") as out:
        hits = [{"_index": "logs", "_id": str(number), "_source": json.loads(line)} for number, line in enumerate(text)]
        json.dump({"took": 1, "hits": {"total": {"value": len(hits)}, "hits": hits}}, out, indent=2)


_WRAPPINGS: dict[str, Callable[[Path, Path], None]] = {
    "plain": _plain,
    "plain, 4 x as many": _four_times,
    "gzip": _gzip,
    "zstd": _zstd,
    f"{_HOSTS} files of the same time": _hosts,
    f"{_HOSTS} rotated files": _rotated,
    "a JSON array": _array,
    "a saved answer over many lines": _printed,
}


def main() -> None:
    for label, value in stream_costs(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000).items():
        print(f"{label:50} {value:>12,.1f}")


if __name__ == "__main__":
    main()
