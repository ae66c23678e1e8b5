"""The runtime fields of a file: read for every search, and refused if they cannot be any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.cli.cluster_wiring import elasticsearch_search, opened_client
from runner.errors import SettingsError
from runner.settings.settings import load_settings
from tests.elasticsearch.proxy import Proxy
from tests.search.lab import MAPPINGS, fill, found_ids, process, request, results, rule


async def test_the_fields_of_the_file_can_be_searched_for(plain_proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    index = f"{namespace}-logs"
    events = [process(1, "a", zone="x"), process(2, "a", zone="y")]
    fill(plain_proxy.url, index, events, mappings={**MAPPINGS, "dynamic": False})
    file = tmp_path / "fields.json"
    file.write_text(json.dumps({"zone": {"type": "keyword"}}))
    environ = {"ELASTICSEARCH_HOSTS": plain_proxy.url, "RUNNER_RUNTIME_FIELDS": str(file)}
    settings = load_settings({}, environ={**environ, "ELASTICSEARCH_COMPRESS": "true"})
    async with opened_client(settings) as client:
        search = elasticsearch_search(settings, client)
        (found,) = await results(search, request(rule('any where zone == "y"', index=(index,))))
    assert (found.error, found_ids(found)) == (None, [["1"]])
    assert plain_proxy.requests_on("/_search")[0].headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "unexpected end of data"),
        ("[]", "expected a JSON object such as"),
        ('{"a": "keyword"}', "the field `a` has no `type`"),
        ('{"a": {"script": "x"}}', "the field `a` has no `type`"),
    ],
)
def test_a_file_of_no_runtime_fields_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "fields.json"
    file.write_text(content)
    given: dict[str, Any] = {"ELASTICSEARCH_HOSTS": "http://127.0.0.1:9", "RUNNER_RUNTIME_FIELDS": str(file)}
    settings = load_settings({}, environ=given)
    with pytest.raises(SettingsError, match="runtime fields") as refused:
        elasticsearch_search(settings, None)  # type: ignore[arg-type]
    assert expected in str(refused.value)
    assert str(file) in str(refused.value)
