"""TLS in tests: certificates made on the spot, and a server that takes TLS off before it passes everything on."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

NAMES = "DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, both in PEM."""

    file: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The first certificate in the file."""
        return ssl.PEM_cert_to_DER_cert(self.file.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the first certificate in the file, in hex."""
        return hashlib.sha256(self.der).hexdigest()


class Authority:
    """A CA of its own in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self.certificate = self._new(name)
        _openssl(
            *("req", "-x509", "-key", self.certificate.key, "-out", self.certificate.file, "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign"),
        )

    def issue(self, name: str, *, names: str = NAMES, dates: tuple[str, str] | None = None) -> Certificate:
        """A certificate of this CA, followed in its file by the CA's own; `dates` are `YYYYMMDDHHMMSSZ`."""
        made = self._new(name)
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        _openssl("req", "-new", "-key", made.key, "-out", request, "-subj", f"/CN={name}")
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
        ca = self.certificate
        if dates is None:
            signing = ["x509", "-req", "-CA", ca.file, "-CAkey", ca.key, "-CAcreateserial", "-days", "2"]
            _openssl(*signing, "-in", request, "-out", made.file, "-extfile", extensions)
        else:
            config, index = self._folder / f"{name}.cnf", self._folder / f"{name}.index"
            index.write_text("")
            config.write_text(
                f"[ca]\ndefault_ca=own\n[own]\ndatabase={index}\nnew_certs_dir={self._folder}\nrand_serial=yes\n"
                "default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n"
            )
            signing = ["ca", "-batch", "-notext", "-config", config, "-cert", ca.file, "-keyfile", ca.key]
            _openssl(
                *(*signing, "-in", request, "-out", made.file, "-extfile", extensions),
                *("-startdate", dates[0], "-enddate", dates[1]),
            )
        made.file.write_text(made.file.read_text() + ca.file.read_text())
        return made

    def _new(self, name: str) -> Certificate:
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", made.key)
        return made


@asynccontextmanager
async def tls_before(backend: str, certificate: Certificate, *, clients: Authority | None = None) -> AsyncIterator[str]:
    """The https address of a server before `backend`; with `clients` it asks for a certificate of that CA."""
    parts = urlsplit(backend)
    assert parts.hostname is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.file, certificate.key)
    if clients is not None:
        context.load_verify_locations(clients.certificate.file)
        context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(parts.hostname, parts.port)
        await join((reader, writer), onward)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    asyncio.get_running_loop().set_exception_handler(_quiet)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@contextmanager
def openssl_server(certificate: Certificate, clients: Authority) -> Iterator[str]:
    """The https address of a server that asks for a certificate of `clients`, and says in TLS what it thinks of it."""
    command = [_program(), "s_server", "-accept", "127.0.0.1:0", "-cert", certificate.file, "-key", certificate.key]
    command += ["-Verify", "1", "-verify_return_error", "-CAfile", clients.certificate.file, "-www"]
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = next(line for line in process.stdout if line.startswith("ACCEPT "))
            yield f"https://127.0.0.1:{address.rpartition(':')[2].strip()}"
        finally:
            process.kill()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(one: Streams, other: Streams) -> None:
    """Pass on what either side says until one of them has ended."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    with closing(one[1]), closing(other[1]):
        tasks = [asyncio.create_task(copy(one[0], other[1])), asyncio.create_task(copy(other[0], one[1]))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


def encrypted(certificate: Certificate, folder: Path) -> Path:
    """The certificate's key in a new file, behind a passphrase."""
    path = folder / "encrypted.key"
    _openssl("ec", "-in", certificate.key, "-aes128", "-passout", "pass:runner-tests", "-out", path)
    return path


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Failed handshakes are what these tests are about; the loop need not report them."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


def _program() -> str:
    return shutil.which("openssl") or pytest.skip("no openssl to make certificates with")


def _openssl(*arguments: object) -> None:
    done = subprocess.run([_program(), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
