"""The sample in a cluster: in the data streams that its documents name, each event once, and beside nobody's events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from elasticsearch import Elasticsearch

from tests.cli.conftest import Command
from tests.cli.conftest import command as command

SAMPLE = ("sample", "--events", "2500", "--attacks", "2", "--end", "2026-03-02 10:05")


@pytest.fixture
def space(elasticsearch_url: str, namespace: str) -> Iterator[str]:
    """The namespace of data streams that there is a template for; they are removed at the end."""
    name = namespace.replace("-", "_")
    keywords = {"texts": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}}}
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.put_index_template(
            name=name,
            index_patterns=[f"logs-*-{name}"],
            data_stream={},
            priority=500,
            template={"mappings": {"dynamic_templates": [keywords]}},
        )
        yield name
        client.indices.delete_data_stream(name=f"logs-*-{name}")
        client.indices.delete_index_template(name=name)


def test_events_go_to_their_data_streams_once(
    command: Command, elasticsearch_url: str, space: str, tmp_path: Path
) -> None:
    env = {"ELASTICSEARCH_HOSTS": elasticsearch_url}
    written = command(*SAMPLE, "--to-cluster", "--namespace", space, "--truth", "truth.ndjson", env=env)
    assert written.code == 0, written.err
    assert command(*SAMPLE, "--out", "events.ndjson").code == 0
    streams = Counter(
        f"{one['data_stream']['type']}-{one['data_stream']['dataset']}-{space}"
        for one in map(orjson.loads, (tmp_path / "events.ndjson").read_bytes().splitlines())
    )
    assert all(stream in written.err for stream in streams)
    assert (tmp_path / "truth.ndjson").stat().st_size > 0
    with Elasticsearch(elasticsearch_url) as client:
        assert {stream: client.count(index=stream)["count"] for stream in streams} == streams
        (hit,) = client.search(index=f"logs-endpoint.events.process-{space}", size=1)["hits"]["hits"]
        assert hit["_source"]["data_stream"]["namespace"] == space

        refused = command(*SAMPLE, "--to-cluster", "--namespace", space, env=env)
        assert refused.code == 3
        assert all(f"{stream} (" in refused.err for stream in streams)
        assert "--append adds them all the same" in refused.err

        again = command(*SAMPLE, "--to-cluster", "--namespace", space, "--append", env=env)
        assert again.code == 0, again.err
        assert "events of these were there already" in again.err
        assert {stream: client.count(index=stream)["count"] for stream in streams} == streams


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--out FILE or --to-cluster is needed"),
        (("--out", "x", "--to-cluster"), "--out and --to-cluster: expected one of the two"),
        (("--hits", "--to-cluster"), "--hits and --to-cluster: expected one of the two"),
        (("--to-cluster", "--namespace", "A-b"), "--namespace: found"),
        (("--to-cluster",), "no cluster is set"),
        (("--out", "x", "--end", "yestrday"), "--end: `yestrday` is not a time"),
        (("--out", "x", "--span", "5"), "--span: `5` has no unit"),
    ],
)
def test_what_cannot_be_is_said(flags: tuple[str, ...], said: str, command: Command) -> None:
    answer = command("sample", *flags)
    assert answer.code == 3
    assert said in answer.err
