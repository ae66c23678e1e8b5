"""What a connection shows of itself, and what it refuses before anything is sent."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from runner.cluster.elasticsearch import Connection, open_client
from runner.errors import SettingsError

ENCODED_KEY = base64.b64encode(b"VuaCfGcBCdbk:ui2lp2axTNmsyakw9tvNnw").decode()


@pytest.mark.parametrize(
    "connection",
    [
        Connection(hosts=("https://es:9200",), api_key="VuaCfGcBCdbk:ui2lp2axTNmsyakw9tvNnw"),
        Connection(hosts=("https://es:9200",), api_key=ENCODED_KEY),
        Connection(hosts=("https://es:9200",), username="elastic", password="ui2lp2axTNmsyakw9tvNnw"),
        Connection(hosts=("https://elastic:ui2lp2axTNmsyakw9tvNnw@es:9200",)),
        Connection(hosts=("https://es:9200",), bearer_token="ui2lp2axTNmsyakw9tvNnw"),
        Connection(hosts=("https://es:9200",), headers={"X-Key": "ui2lp2axTNmsyakw9tvNnw"}),
    ],
)
def test_no_secret_is_shown(connection: Connection) -> None:
    shown = f"{connection!r} {connection} {connection.identity} {connection.shown_hosts}"
    assert "ui2lp2axTNmsyakw9tvNnw" not in shown
    assert ENCODED_KEY not in shown
    assert "https://es:9200" in shown


def test_the_identity_names_who_asks() -> None:
    hosts = ("https://es:9200",)
    assert Connection(hosts=hosts, api_key=ENCODED_KEY).identity == 'API key id "VuaCfGcBCdbk"'
    assert Connection(hosts=hosts, api_key="abc:secret").identity == 'API key id "abc"'
    assert Connection(hosts=hosts, username="me", password="x").identity == 'user "me"'
    assert Connection(hosts=("https://you%40home:x@es:9200",)).identity == 'user "you@home"'
    assert Connection(hosts=hosts).identity == "nobody (no credentials)"


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (Connection(), "found neither"),
        (Connection(hosts=("https://es:9200",), cloud_id="x:y"), "found both"),
        (Connection(hosts=("localhost:9200",)), "`localhost:9200` is not a URL: expected one like"),
        (Connection(hosts=("https://es:92000",)), "`https://es:92000` is not a URL"),
        (Connection(hosts=("ftp://user:hunter22@es",)), "`ftp://es` is not a URL"),
        (Connection(hosts=("https://es:9200",), username="a", api_key="b:c"), "found an API key and a user name"),
        (Connection(hosts=("https://a:b@es:9200",), bearer_token="t"), "found a user name and a bearer token"),
        (Connection(hosts=("https://es:9200",), ca_certs=Path("no/such.pem")), "no/such.pem: no such CA file"),
        (Connection(hosts=("https://es:9200",), fingerprint="12:34"), "expected 64 hex digits"),
        (Connection(cloud_id="nonsense"), "can not be set up"),
    ],
)
def test_a_connection_that_can_not_work_is_refused(connection: Connection, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_client(connection)
    assert expected in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_a_ca_file_without_certificates_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")
    with pytest.raises(SettingsError, match="no certificates in it"):
        open_client(Connection(hosts=("https://es:9200",), ca_certs=file))


def test_secrets_are_known_as_they_are_written_and_decoded() -> None:
    connection = Connection(
        hosts=("https://me:p%40ssword@es:9200", "https://es-2:9200"),
        api_key="id:some-key",
        proxy="http://u:proxy%2Fpass@proxy:3128",
        environment_proxies={"https": "http://v:env-pass@proxy", "no": "a:12345@b"},
    )
    assert set(connection.secrets) == {
        "id:some-key",
        "p%40ssword",
        "p@ssword",
        "proxy%2Fpass",
        "proxy/pass",
        "env-pass",
    }
