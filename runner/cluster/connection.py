"""`Connection`: how to reach a server and as whom."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

SECRETS = ("api_key", "password", "bearer_token")
"""The fields of a connection that must not be shown."""
_MASK = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """Where a cluster or a Kibana is and as whom it is reached: values as `settings` has checked them."""

    hosts: tuple[str, ...] = ()
    """`scheme://host:port`, with a path if the server stands behind a prefix."""
    cloud_id: str = ""
    api_key: str = ""
    """`id:key` in base64, as the `Authorization` header has it."""
    username: str = ""
    password: str = ""
    bearer_token: str = ""
    ca_certs: Path | None = None
    fingerprint: str = ""
    """SHA-256, 64 hex digits, of the cluster's certificate or of the CA's that signed it: the only one trusted."""
    client_cert: Path | None = None
    client_key: Path | None = None
    verify_certs: bool = True
    request_timeout: float = 30.0
    """Seconds that one HTTP request may take."""
    compress: bool = False
    """Whether bodies are compressed in both directions."""
    proxy: str = ""
    """The HTTP proxy for every host: `http://[user:password@]host:port`."""
    environment_proxies: Mapping[str, str] = field(default_factory=dict)
    """Where `proxy` is not set: proxies by the scheme of a host (`http`, `https`), and under `no` the exceptions."""

    def __repr__(self) -> str:
        shown: list[str] = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name == "proxy":
                value = without_user(value)
            elif item.name == "environment_proxies":
                value = {name: text if name == "no" else without_user(text) for name, text in value.items()}
            elif item.name in SECRETS and value:
                value = _MASK
            if value != item.default and value not in ((), {}):
                shown.append(f"{item.name}={value!r}")
        return f"Connection({', '.join(shown)})"

    @property
    def shown_hosts(self) -> tuple[str, ...]:
        """The hosts for messages; the cloud's name for a cloud id."""
        return (f"cloud {self.cloud_id.partition(':')[0]}",) if self.cloud_id else self.hosts

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that no message may show, those in URLs as they are written there and decoded."""
        found = [getattr(self, name) for name in SECRETS]
        for url in (self.proxy, *(self.environment_proxies.get(name, "") for name in ("http", "https"))):
            written = url.rpartition("@")[0].rpartition(":")[2]
            found += [written, unquote(written)]
        return tuple(text for text in found if len(text) > 3)

    @property
    def identity(self) -> str:
        """The login without a secret: `API key id "x"`, `user "y"`, `the bearer token`, `nobody (no credentials)`."""
        if self.api_key:
            return f'API key id "{_key_id(self.api_key)}"'
        if self.bearer_token:
            return "the bearer token"
        return f'user "{self.username}"' if self.username else "nobody (no credentials)"


def credentials_for(connection: Connection) -> dict[str, Any]:
    """The client's options for logging in."""
    if connection.api_key:
        return {"api_key": connection.api_key}
    if connection.bearer_token:
        return {"bearer_auth": connection.bearer_token}
    if connection.username:
        return {"basic_auth": (connection.username, connection.password)}
    return {}


def without_user(url: str) -> str:
    """The URL without `user:password@`, however the rest of it looks."""
    start, at, rest = url.rpartition("@")
    if not at:
        return url
    scheme, separator, _ = start.partition("://")
    return f"{scheme}{separator}{rest}" if separator else rest


def _key_id(api_key: str) -> str:
    """The public half of an API key."""
    try:
        key_id, colon, _ = base64.b64decode(api_key, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "not readable"
    return key_id if colon else "not readable"
