"""`write_to_cluster`: the sample in the data streams of a cluster that its documents name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import orjson

from runner.cluster.elasticsearch import Elastic
from runner.errors import ClusterError, SettingsError
from runner.messages.quantities import counted
from runner.sample_data.generate import Sample, SampleEvent
from runner.sample_data.write import SampleSummary, document_id, summary_of
from runner.store.elasticsearch.bulk import Action, ActionOutcome, write_bulk

_CHUNK: Final = 2_000


@dataclass(slots=True)
class ClusterSample:
    """What was written."""

    summary: SampleSummary
    streams: tuple[str, ...]
    known: int = 0
    """How many events were there already."""


async def write_to_cluster(
    client: Elastic, make: Callable[[], Sample], *, namespace: str, append: bool, progress: Callable[[int], None]
) -> ClusterSample:
    """Write the sample that `make` returns, an event once, and return what was written.

    Each document goes to the data stream of its type and dataset in the namespace; a stream that is not there is made
    of the cluster's templates. Raises SettingsError, with nothing written, if a stream has documents and `append` is
    not set; else what the client raises.
    """
    streams = tuple(sorted({_stream(event, namespace) for event in make().events}))
    await _look_at(client, streams, append=append)
    sample = make()
    written = ClusterSample(SampleSummary(0, 0, 0, 0, 0, 0, 0), streams)
    size = count = first = last = 0
    for chunk in _chunks(sample.events):
        by_stream: dict[str, list[Action]] = {}
        for event in chunk:
            action = _create(event, namespace)
            by_stream.setdefault(_stream(event, namespace), []).append(action)
            size += action.size
            count += 1
            first, last = first if count > sample.older + 1 else event.at, event.at
        for stream, actions in by_stream.items():
            written.known += _checked(await write_bulk(client, actions, index=stream), stream)
        progress(count)
    for stream in streams:
        await client.refresh(stream)
    return replace(written, summary=summary_of(sample, count, size=size, first=first, last=last))


async def _look_at(client: Elastic, streams: Iterable[str], *, append: bool) -> None:
    """Makes the streams that are not there; raises SettingsError if one has documents that may not be added to."""
    missing: list[str] = []
    filled: list[str] = []
    for stream in streams:
        if not await client.index_exists(stream):
            missing.append(stream)
        elif not append and (found := await client.count(stream)):
            filled.append(f"{stream} ({counted(found, 'document')})")
    if filled:
        raise SettingsError(
            f"{', '.join(filled)} would get sample events beside what is there: --append adds them all the same, "
            "--namespace NAME writes to data streams of their own"
        )
    for stream in missing:
        try:
            await client.create_data_stream(stream)
        except ClusterError as error:
            if "no matching index template" not in str(error):
                raise
            raise SettingsError(
                f"no index template of the cluster is for a data stream {stream}: install the integration Elastic "
                "Defend, or a template for logs-*-* with `data_stream`"
            ) from error


def _stream(event: SampleEvent, namespace: str) -> str:
    stream = event.document["data_stream"]
    return f"{stream['type']}-{stream['dataset']}-{namespace}"


def _create(event: SampleEvent, namespace: str) -> Action:
    document = event.document
    if document["data_stream"].get("namespace") != namespace:
        document = document | {"data_stream": document["data_stream"] | {"namespace": namespace}}
    header = orjson.dumps({"create": {"_id": document_id(document)}})
    return Action(header, orjson.dumps(document))


def _chunks(events: Iterator[SampleEvent]) -> Iterator[list[SampleEvent]]:
    while chunk := list(islice(events, _CHUNK)):
        yield chunk


def _checked(outcomes: Iterable[ActionOutcome], stream: str) -> int:
    """How many documents were there already. Raises ClusterError if one could not be written."""
    known = 0
    for outcome in outcomes:
        known += outcome.conflict
        if not outcome.stored and not outcome.conflict:
            raise ClusterError(f"could not write to {stream}: {outcome.explained}", status=outcome.status)
    return known
