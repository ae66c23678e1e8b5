"""Sample files: NDJSON, plain or compressed by the file's name, and the list of planted items."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Literal, cast

import orjson

from runner.errors import AccessError, SettingsError
from runner.events.files.compression import zstd
from runner.sample_data.generate import Sample, SampleEvent, generate

PROGRESS_EVERY = 2_000
SampleTarget = Path | Literal["-"]


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """The counts, size and time span of a written sample."""

    events: int
    attacks: int
    near_misses: int
    hosts: int
    size: int
    """Bytes of the lines, before compression."""
    first: int
    """`@timestamp` of the oldest event but those of the day before, in nanoseconds since 1970."""
    last: int
    older: int = 0
    """How many events are of the day before."""


def write_sample(
    out: SampleTarget,
    *,
    events: int,
    attacks: int,
    seed: int,
    end: datetime,
    truth: Path | None = None,
    span: timedelta | None = None,
    near_misses: int | None = None,
    rule: str | None = None,
    examples: bool = False,
    hits: bool = False,
    progress: Callable[[int], None] | None = None,
) -> SampleSummary:
    """Write the sample that `generate` makes of these arguments, a line per event, and return its summary.

    `out` is a file (`.gz` and `.zst` are compressed) or `-`, the standard output. `hits` wraps each document as a
    search hit with `_index`, `_id` and `_source`. `truth` is the file for the planted items, a line each. `progress`
    receives the count of events written. Files are renamed to their name when complete. Raises SettingsError for
    arguments that cannot be satisfied, AccessError for a file that cannot be written.
    """
    if truth is not None and truth.absolute() == Path(out).absolute():
        raise SettingsError(f"the events and the list of what is planted cannot both go to {truth}")
    sample = generate(
        events=events,
        attacks=attacks,
        seed=seed,
        end=end,
        span=span,
        near_misses=near_misses,
        rule=rule,
        examples=examples,
    )
    with _opened(out) as file:
        size, first, last = _write_events(file, sample, hits=hits, progress=progress)
    if truth is not None:
        write_truth(truth, sample)
    return summary_of(sample, events, size=size, first=first, last=last)


def write_truth(path: Path, sample: Sample) -> None:
    """Write the planted items, a line each. Raises AccessError."""
    with _opened(path) as file:
        file.writelines(orjson.dumps(item.line()) + b"\n" for item in sample.truth)


def summary_of(sample: Sample, events: int, *, size: int, first: int, last: int) -> SampleSummary:
    """The summary of a sample of which so many events were written."""
    planted = sum(item.kind == "attack" for item in sample.truth)
    return SampleSummary(events, planted, len(sample.truth) - planted, sample.hosts, size, first, last, sample.older)


def document_id(document: Mapping[str, Any]) -> str:
    """The `_id` of an event: its `event.id`, in letters that an id may have."""
    name: str = document["event"]["id"]
    return name.replace("+", "-").replace("/", "_")


def _write_events(
    file: IO[bytes], sample: Sample, *, hits: bool, progress: Callable[[int], None] | None
) -> tuple[int, int, int]:
    size = count = first = last = 0
    for event in sample.events:
        content = _hit(event) if hits else event.document
        line = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
        file.write(line)
        size += len(line)
        count += 1
        first, last = first if count > sample.older + 1 else event.at, event.at
        if progress is not None and count % PROGRESS_EVERY == 0:
            progress(count)
    if progress is not None and count % PROGRESS_EVERY:
        progress(count)
    return size, first, last


def _hit(event: SampleEvent) -> dict[str, Any]:
    """The event as a search hit: in the backing index of its data stream, with an `_id` from its `event.id`."""
    document = event.document
    dataset = document["data_stream"]["dataset"]
    day = datetime.fromtimestamp(event.at // 1_000_000_000, UTC).strftime("%Y.%m.%d")
    return {
        "_index": f".ds-logs-{dataset}-default-{day}-000001",
        "_id": document_id(document),
        "_source": document,
    }


@contextmanager
def _opened(target: SampleTarget) -> Iterator[IO[bytes]]:
    """The file to write to; a regular file is written under a temporary name and renamed when complete."""
    if str(target) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    special = path.exists() and not path.is_file()
    draft = path if special else path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as raw, _compressed(raw, path.suffix) as file:
            yield file
        if not special:
            draft.replace(path)
    except OSError as error:
        raise AccessError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if not special:
            draft.unlink(missing_ok=True)


@contextmanager
def _compressed(raw: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".gz":
        # Without a name and a time in the header, equal samples are equal files.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
            yield cast(IO[bytes], packed)
    elif suffix == ".zst":
        with zstd.ZstdFile(raw, "wb", level=3) as stream:
            yield cast(IO[bytes], stream)
    else:
        yield raw
