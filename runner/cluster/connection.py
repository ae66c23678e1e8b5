"""`Connection`: how to reach an Elasticsearch cluster and as whom, and what is wrong with that beforehand."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from runner.errors import SettingsError

SECRETS = ("api_key", "password", "bearer_token")
"""The fields of a connection that must not be shown."""
_MASK = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach a cluster and as whom. A host is a URL, with a path if the cluster stands behind a prefix."""

    hosts: tuple[str, ...] = ()
    cloud_id: str = ""
    api_key: str = ""
    """As Kibana shows it (base64), or `id:key`."""
    username: str = ""
    password: str = ""
    bearer_token: str = ""
    ca_certs: Path | None = None
    fingerprint: str = ""
    """SHA-256, in hex, of the cluster's certificate or of the CA's that signed it; nothing else is trusted then."""
    client_cert: Path | None = None
    client_key: Path | None = None
    verify_certs: bool = True
    request_timeout: float = 30.0
    """Seconds that one HTTP request may take."""
    compress: bool = False
    """Whether bodies are compressed in both directions."""
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str = ""
    """The HTTP proxy for every host: `http://[user:password@]host:port`."""
    environment_proxies: Mapping[str, str] = field(default_factory=dict)
    """Where `proxy` is not set: proxies by the scheme of a host (`http`, `https`), and under `no` the exceptions."""

    def __repr__(self) -> str:
        shown: list[str] = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name == "hosts":
                value = self.shown_hosts
            elif item.name == "headers":
                value = sorted(value)
            elif item.name == "proxy":
                value = without_user(value)
            elif item.name == "environment_proxies":
                value = {name: text if name == "no" else without_user(text) for name, text in value.items()}
            elif item.name in SECRETS and value:
                value = _MASK
            if value != item.default and value not in ((), [], {}):
                shown.append(f"{item.name}={value!r}")
        return f"Connection({', '.join(shown)})"

    @property
    def shown_hosts(self) -> tuple[str, ...]:
        """The hosts without user names and passwords, for messages; the cloud's name for a cloud id."""
        if self.hosts:
            return tuple(without_user(host) for host in self.hosts)
        return (f"cloud {self.cloud_id.partition(':')[0]}",) if self.cloud_id else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that no message may show, those in URLs as they are written there and decoded."""
        found = [getattr(self, name) for name in SECRETS]
        for url in (*self.hosts, self.proxy, *(self.environment_proxies.get(name, "") for name in ("http", "https"))):
            written = url.rpartition("@")[0].rpartition(":")[2]
            found += [written, unquote(written)]
        return tuple(text for text in found if len(text) > 3)

    @property
    def identity(self) -> str:
        """Who asks, without a secret: `API key id "x"`, `user "y"`, `the bearer token`, `nobody (no credentials)`."""
        if self.api_key:
            return f'API key id "{_key_id(self.api_key)}"'
        if self.bearer_token:
            return "the bearer token"
        name = self.username or next((user for user, _ in map(_user_of, self.hosts) if user), "")
        return f'user "{name}"' if name else "nobody (no credentials)"


def check_connection(connection: Connection) -> None:
    """Raises SettingsError for what can be seen to be wrong without a connection."""
    if bool(connection.hosts) == bool(connection.cloud_id):
        found = "both" if connection.hosts else "neither"
        raise SettingsError(f"expected either Elasticsearch hosts or a cloud id, found {found}")
    for host in connection.hosts:
        _check_host(host)
    users = connection.username or next((user for user, _ in map(_user_of, connection.hosts) if user), "")
    given = [name for name, value in (("an API key", connection.api_key), ("a user name", users)) if value]
    given += ["a bearer token"] if connection.bearer_token else []
    if len(given) > 1:
        raise SettingsError(f"expected one way to log in to Elasticsearch, found {' and '.join(given)}")
    if connection.fingerprint and connection.ca_certs:
        raise SettingsError("a certificate fingerprint can not be combined with a CA file: either says what is trusted")
    if connection.fingerprint and not re.fullmatch(r"[0-9a-fA-F]{64}", connection.fingerprint.replace(":", "")):
        raise SettingsError("the certificate fingerprint is not a SHA-256 in hex: expected 64 hex digits")
    for what, path in (("CA", connection.ca_certs), ("client certificate", connection.client_cert)):
        if path and not path.exists():
            raise SettingsError(f"{path}: no such {what} file")


def _check_host(host: str) -> None:
    shown = without_user(host)
    try:
        parts = urlsplit(host)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"Elasticsearch host `{shown}` is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise SettingsError(f"Elasticsearch host `{shown}` is not a URL: expected one like `https://localhost:9200`")


def credentials_for(connection: Connection) -> dict[str, Any]:
    """The client's options for logging in."""
    if connection.api_key:
        key_id, colon, key = connection.api_key.partition(":")
        return {"api_key": (key_id, key) if colon else connection.api_key}
    if connection.bearer_token:
        return {"bearer_auth": connection.bearer_token}
    if connection.username:
        return {"basic_auth": (connection.username, connection.password)}
    pairs = [pair for pair in map(_user_of, connection.hosts) if pair[0]]
    return {"basic_auth": pairs[0]} if pairs else {}


def without_user(host: str) -> str:
    """The URL without `user:password@`, however the rest of it looks."""
    start, at, rest = host.rpartition("@")
    if not at:
        return host
    scheme, separator, _ = start.partition("://")
    return f"{scheme}{separator}{rest}" if separator else rest


def _user_of(host: str) -> tuple[str, str]:
    parts = urlsplit(host)
    return unquote(parts.username or ""), unquote(parts.password or "")


def _key_id(api_key: str) -> str:
    """The public half of an API key."""
    key_id, colon, _ = api_key.partition(":")
    if colon:
        return key_id
    try:
        key_id, colon, _ = base64.b64decode(api_key, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "not readable"
    return key_id if colon else "not readable"
