"""TLS towards a real node: what is trusted, and what is said where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.cluster.elasticsearch import Connection, open_client
from runner.errors import SettingsError, UnreachableError
from tests.cluster.opened import opened
from tests.cluster.tls import Authority, Certificate, encrypted, openssl_server, tls_before


async def failure(connection: Connection) -> str:
    async with opened(connection) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.info()
    return str(caught.value)


async def works(connection: Connection) -> None:
    async with opened(connection) as client:
        assert (await client.info()).version
        # A second connection, once what there is to learn was learnt.
        assert await client.read_document("no-such-index", "1") is None


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return authority.issue("server")


async def test_every_way_to_trust_a_certificate(
    elasticsearch_url: str, authority: Authority, certificate: Certificate
) -> None:
    async with tls_before(elasticsearch_url, certificate) as url:
        for connection in (
            Connection(hosts=(url,), ca_certs=authority.certificate.file),
            Connection(hosts=(url.replace("127.0.0.1", "localhost"),), ca_certs=authority.certificate.file),
            Connection(hosts=(url,), fingerprint=certificate.fingerprint),
            Connection(hosts=(url,), fingerprint=authority.certificate.fingerprint),
            Connection(hosts=(url,), verify_certs=False),
        ):
            await works(connection)


async def test_an_unknown_ca_and_another_ca_than_the_one_given(
    elasticsearch_url: str, certificate: Certificate, stranger: Authority
) -> None:
    async with tls_before(elasticsearch_url, certificate) as url:
        for connection in (
            Connection(hosts=(url,)),
            Connection(hosts=(url,), ca_certs=stranger.certificate.file),
        ):
            said = await failure(connection)
            assert "TLS failed, its certificate is not trusted" in said
            assert "ELASTICSEARCH_CA_CERTS" in said


async def test_a_fingerprint_of_neither_the_certificate_nor_its_ca(
    elasticsearch_url: str, certificate: Certificate, stranger: Authority
) -> None:
    async with tls_before(elasticsearch_url, certificate) as url:
        said = await failure(Connection(hosts=(url,), fingerprint=stranger.certificate.fingerprint))
    assert "the fingerprint of its certificate is another one than the one set" in said
    assert f"found {certificate.fingerprint}, expected {stranger.certificate.fingerprint}" in said


async def test_a_ca_certificate_that_is_only_sent_along_proves_nothing(
    elasticsearch_url: str, authority: Authority, stranger: Authority
) -> None:
    """Anybody can send the certificate of a CA; the one before it must have been signed with its key."""
    forged = stranger.issue("forged")
    forged.file.write_text(forged.file.read_text() + authority.certificate.file.read_text())
    async with tls_before(elasticsearch_url, forged) as url:
        said = await failure(Connection(hosts=(url,), fingerprint=authority.certificate.fingerprint))
    assert "TLS failed, its certificate is not trusted" in said


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("20200101000000Z", "20200102000000Z"), "it has expired"),
        (("20990101000000Z", "20990102000000Z"), "it is not yet valid"),
    ],
)
async def test_a_certificate_out_of_its_time(
    elasticsearch_url: str, authority: Authority, dates: tuple[str, str], expected: str
) -> None:
    certificate = authority.issue(f"dated-{dates[0]}", dates=dates)
    async with tls_before(elasticsearch_url, certificate) as url:
        said = await failure(Connection(hosts=(url,), ca_certs=authority.certificate.file))
    assert f"its certificate is not trusted: {expected}" in said


async def test_a_certificate_for_other_names(elasticsearch_url: str, authority: Authority) -> None:
    certificate = authority.issue("elsewhere", names="DNS:elsewhere.example,IP:192.0.2.1")
    async with tls_before(elasticsearch_url, certificate) as url:
        for name in ("127.0.0.1", "localhost"):
            host = url.replace("127.0.0.1", name)
            said = await failure(Connection(hosts=(host,), ca_certs=authority.certificate.file))
            assert f"its certificate is for other names than `{name}`" in said
        # The fingerprint of the certificate itself says more than any name; that of its CA does not.
        await works(Connection(hosts=(url,), fingerprint=certificate.fingerprint))
        said = await failure(Connection(hosts=(url,), fingerprint=authority.certificate.fingerprint))
        assert "its certificate is for other names" in said


async def test_plain_http_to_a_port_with_tls(elasticsearch_url: str, certificate: Certificate) -> None:
    async with tls_before(elasticsearch_url, certificate) as url:
        said = await failure(Connection(hosts=(url.replace("https:", "http:"),)))
    assert "if the cluster uses TLS, write https://" in said


async def test_a_client_certificate_is_shown(
    elasticsearch_url: str, authority: Authority, certificate: Certificate
) -> None:
    known = authority.issue("client", names="DNS:client")
    ca = authority.certificate
    async with tls_before(elasticsearch_url, certificate, clients=authority) as url:
        shown: dict[str, Any] = {"client_cert": known.file, "client_key": known.key}
        await works(Connection(hosts=(url,), ca_certs=ca.file, **shown))
        for fingerprint in (certificate.fingerprint, ca.fingerprint):
            await works(Connection(hosts=(url,), fingerprint=fingerprint, **shown))
        together = known.file.with_name("together.pem")
        together.write_text(known.key.read_text() + known.file.read_text())
        await works(Connection(hosts=(url,), ca_certs=ca.file, client_cert=together))


async def test_a_client_certificate_that_is_missing_or_not_accepted(
    authority: Authority, certificate: Certificate, stranger: Authority
) -> None:
    ca, unknown = authority.certificate.file, stranger.issue("unaccepted", names="DNS:client")
    with openssl_server(certificate, authority) as url:
        said = await failure(Connection(hosts=(url,), ca_certs=ca))
        assert "the server asks for a client certificate (ELASTICSEARCH_CLIENT_CERT)" in said
        said = await failure(Connection(hosts=(url,), ca_certs=ca, client_cert=unknown.file, client_key=unknown.key))
        assert "the server does not accept the client certificate" in said


def test_certificate_files_that_can_not_be_used(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    hosts = ("https://es:9200",)
    own = authority.issue("own")
    junk = tmp_path / "junk.pem"
    junk.write_text("nothing")
    for connection, expected in (
        (Connection(hosts=hosts, client_cert=junk), "no client certificate with its key; expected both in PEM"),
        (Connection(hosts=hosts, client_cert=own.file), "no client certificate with its key"),
        (
            Connection(hosts=hosts, client_cert=own.file, client_key=stranger.certificate.key),
            "the key does not belong to",
        ),
        (Connection(hosts=hosts, client_cert=own.file, client_key=encrypted(own, tmp_path)), "the key is encrypted"),
        (Connection(hosts=hosts, ca_certs=junk), "no certificates in it; expected those of CAs, in PEM"),
    ):
        with pytest.raises(SettingsError, match=expected):
            open_client(connection)
