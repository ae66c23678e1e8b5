"""What a connection shows of itself, and what is refused before anything is sent."""

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
        Connection(hosts=("https://es:9200",), api_key=ENCODED_KEY),
        Connection(hosts=("https://es:9200",), username="elastic", password="ui2lp2axTNmsyakw9tvNnw"),
        Connection(hosts=("https://es:9200",), bearer_token="ui2lp2axTNmsyakw9tvNnw"),
        Connection(hosts=("https://es:9200",), proxy="http://u:ui2lp2axTNmsyakw9tvNnw@proxy:3128"),
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
    assert Connection(hosts=hosts, api_key="abc").identity == 'API key id "not readable"'
    assert Connection(hosts=hosts, username="me", password="x").identity == 'user "me"'
    assert Connection(hosts=hosts).identity == "nobody (no credentials)"


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (Connection(), "can not be set up"),
        (Connection(hosts=("https://es:9200",), ca_certs=Path("no/such.pem")), "no/such.pem: the CA file cannot be"),
        (Connection(cloud_id="nonsense"), "can not be set up"),
    ],
)
def test_a_connection_that_can_not_work_is_refused(connection: Connection, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_client(connection)
    assert expected in str(caught.value)


def test_a_ca_file_without_certificates_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate")
    with pytest.raises(SettingsError, match="no certificates in it"):
        open_client(Connection(hosts=("https://es:9200",), ca_certs=file))


def test_secrets_are_known_as_they_are_written_and_decoded() -> None:
    connection = Connection(
        hosts=("https://es:9200",),
        api_key="some-key",
        proxy="http://u:proxy%2Fpass@proxy:3128",
        environment_proxies={"https": "http://v:env-pass@proxy", "no": "a:12345@b"},
    )
    assert set(connection.secrets) == {"some-key", "proxy%2Fpass", "proxy/pass", "env-pass"}
