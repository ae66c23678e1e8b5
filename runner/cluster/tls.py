"""TLS towards a host: what is trusted, by which certificate we are known, and certificates known by a fingerprint."""

from __future__ import annotations

import _ssl
import asyncio
import hashlib
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import certifi
from aiohttp import Fingerprint, ServerFingerprintMismatch

from runner.cluster.connection import Connection
from runner.cluster.proxies import proxy_for
from runner.errors import SettingsError

_VERSION, _UTC_TIME = 0xA0, 0x17
"""Tags of X.690: the version of a certificate, which may be left out, and a time with a year of two digits."""


class IssuerFoundError(ServerFingerprintMismatch):
    """Not the server's own certificate has the fingerprint, but one that it sent along: presumably its CA's."""

    def __init__(self, mismatch: ServerFingerprintMismatch, certificate: bytes) -> None:
        super().__init__(mismatch.expected, mismatch.got, mismatch.host, mismatch.port)
        self.certificate = certificate


class PinnedCertificate(Fingerprint):
    """Lets only a server through whose own certificate has the fingerprint.

    Elasticsearch prints the fingerprint of its CA when it is first started. A certificate of that fingerprint proves
    nothing here, as no signature has been verified yet: IssuerFoundError carries it, to be verified against.
    """

    def check(self, transport: asyncio.Transport) -> None:
        """Raises ServerFingerprintMismatch, or IssuerFoundError."""
        context: ssl.SSLContext | None = transport.get_extra_info("sslcontext")
        if context is not None and context.verify_mode is ssl.CERT_REQUIRED:
            return  # This one trusts the certificate with the fingerprint and nothing else, and has checked that.
        try:
            super().check(transport)
        except ServerFingerprintMismatch as mismatch:
            for certificate in sent_chain(transport.get_extra_info("ssl_object")):
                if hashlib.sha256(certificate).digest() == self.fingerprint:
                    raise IssuerFoundError(mismatch, certificate) from None
            raise


def sent_chain(connection: ssl.SSLObject) -> tuple[bytes, ...]:
    """The certificates that the server sent, its own first, in DER; not verified."""
    public = getattr(connection, "get_unverified_chain", None)
    if public is not None:
        return tuple(public())
    # Public since Python 3.13 only; the same call stands one level deeper before.
    inner = connection._sslobj  # type: ignore[attr-defined]
    chain = inner.get_unverified_chain() if inner is not None else None
    return tuple(certificate.public_bytes(_ssl.ENCODING_DER) for certificate in chain or ())


def pin_for(connection: Connection) -> PinnedCertificate | None:
    """The check of the fingerprint, if one is set."""
    return PinnedCertificate(bytes.fromhex(connection.fingerprint)) if connection.fingerprint else None


def context_for(connection: Connection, *, issuer: bytes | None = None) -> ssl.SSLContext:
    """What TLS connections to the cluster trust. Raises SettingsError for files that cannot be used.

    Without a CA file these are the CAs of the system and those of Mozilla; with one, those in it alone; with an
    `issuer` (DER), only what was signed with its key. A name is compared with the certificate's names, an address with
    its addresses.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if issuer is not None:
        # An intermediate CA is trusted as well as a root: its fingerprint was given.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(issuer))
    elif connection.fingerprint or not connection.verify_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif connection.ca_certs is not None:
        _load_ca(context, connection.ca_certs)
    else:
        context.load_default_certs()
        context.load_verify_locations(cafile=certifi.where())
    if connection.client_cert is not None:
        _load_client_certificate(context, connection.client_cert, connection.client_key)
    return context


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(path))
    except ssl.SSLError:
        raise SettingsError(f"{path}: no certificates in it; expected those of CAs, in PEM") from None
    except OSError as error:
        raise SettingsError(f"{path}: the CA file cannot be read: {error.strerror or error}") from None


def _load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def no_passphrase() -> str:
        raise SettingsError(f"{key or certificate}: the key is encrypted; expected one without a passphrase")

    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"{key or certificate}: the key does not belong to {certificate}") from None
        text = f"no client certificate with its key; expected both in PEM ({error.reason or error})"
        raise SettingsError(f"{certificate}{f' and {key}' if key else ''}: {text}") from None
    except OSError as error:
        raise SettingsError(f"the client certificate cannot be read: {error}") from None


async def read_chain(connection: Connection, host: str, *, seconds: float) -> tuple[bytes, ...]:
    """The certificates that a host (an https URL) sends, its own first, in DER; no request is sent.

    Raises the errors of aiohttp, of the system, and TimeoutError.
    """
    recorder = _Recorder(bytes(32))
    context = context_for(replace(connection, verify_certs=False, ca_certs=None))
    timeout = aiohttp.ClientTimeout(total=seconds)
    options: dict[str, Any] = {}
    if proxy := proxy_for(connection, host):
        headers = {"Proxy-Authorization": proxy.authorization} if proxy.username else {}
        options = {"proxy": proxy.url, "proxy_headers": headers}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=recorder), timeout=timeout) as session:
        try:
            async with session.head(host, ssl=context, **options):
                return recorder.chain
        except ServerFingerprintMismatch:
            return recorder.chain


class _Recorder(Fingerprint):
    """Keeps the certificates that the server sent, and refuses every server."""

    chain: tuple[bytes, ...] = ()

    def check(self, transport: asyncio.Transport) -> None:
        self.chain = sent_chain(transport.get_extra_info("ssl_object"))
        super().check(transport)


def valid_until(certificate: bytes) -> datetime:
    """When a certificate (DER) ends. Raises ValueError for what is none.

    Certificate and validity: RFC 5280, 4.1; the encoding: X.690.
    """
    _, whole, _ = _element(certificate, 0)
    _, body, _ = _element(whole, 0)
    at = 0
    fields: list[bytes] = []
    while len(fields) < 4 and at < len(body):
        tag, content, at = _element(body, at)
        if tag != _VERSION:
            fields.append(content)
    if len(fields) < 4:
        raise ValueError("not a certificate: it ends too early")
    # Serial number, signature, issuer, validity.
    _, _, second = _element(fields[3], 0)
    tag, text, _ = _element(fields[3], second)
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag and content of the element that begins at a place, and where the next one begins."""
    try:
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
    except IndexError:
        raise ValueError("not a certificate: it ends too early") from None
    return tag, data[at : at + size], at + size
