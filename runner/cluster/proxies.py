"""`Proxy`: the HTTP proxy that requests to a host go through, from the setting or from the usual variables."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from runner.cluster.connection import Connection, without_user
from runner.errors import SettingsError
from runner.settings import value_checks

SETTING = "ELASTICSEARCH_PROXY"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. TLS to the cluster runs through it unread; the connection to the proxy itself is not encrypted."""

    url: str
    """`http://host:port`, without a user."""
    source: str
    """The variable that names it."""
    username: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.url} ({self.source})"

    @property
    def authorization(self) -> str:
        """The value of the header `Proxy-Authorization` (RFC 7617)."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


def proxy_for(connection: Connection, host: str) -> Proxy | None:
    """The proxy for one host, given as a URL; None if requests go to it directly.

    The setting holds for every host. Otherwise `HTTPS_PROXY` or `HTTP_PROXY` counts, by the scheme of the host, unless
    `NO_PROXY` or a loopback address excepts it. Raises SettingsError for a variable that cannot be used.
    """
    if connection.proxy:
        return _proxy(connection.proxy, SETTING)
    parts = urlsplit(host)
    given = connection.environment_proxies.get(parts.scheme, "")
    if not given or _is_excepted(parts.hostname or "", parts.port or _PORTS[parts.scheme], connection):
        return None
    return read_proxy(given, f"{parts.scheme.upper()}_PROXY")


def read_proxy(text: str, source: str) -> Proxy:
    """The proxy of a variable, `[http://][user:password@]host[:port]`. Raises SettingsError.

    Checked where it is used alone: a bad variable that no host needs is no error.
    """
    try:
        return _proxy(value_checks.proxy(text), source)
    except ValueError as error:
        raise SettingsError(f"{source}: found `{without_user(text)}`, {error}") from None


def _proxy(url: str, source: str) -> Proxy:
    parts = urlsplit(url)
    assert parts.hostname is not None
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"http://{name}:{parts.port or _PORTS['http']}"
    return Proxy(url, source, username=unquote(parts.username or ""), password=unquote(parts.password or ""))


def environment_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies of the environment by the scheme of the host, and under `no` what they are not for.

    Lower-case names go first, as with curl. `HTTP_PROXY` in capitals does not count in a CGI program, where a request
    header can set it (https://httpoxy.org).
    """
    found: dict[str, str] = {}
    for scheme in ("http", "https", "no"):
        names = [f"{scheme}_proxy", f"{scheme}_PROXY".upper()]
        if scheme == "http" and "REQUEST_METHOD" in environ:
            names.pop()
        value = next((environ[name].strip() for name in names if name in environ), "")
        if value:
            found[scheme] = value
    return found


def _is_excepted(host: str, port: int, connection: Connection) -> bool:
    """True for loopback addresses, and for what `NO_PROXY` lists: names with their sub-domains, addresses, networks."""
    host = host.lower().rstrip(".")
    address = None
    try:
        address = ip_address(host)
    except ValueError:
        if host == "localhost" or host.endswith(".localhost"):
            return True
    if address is not None and address.is_loopback:
        return True
    for entry in connection.environment_proxies.get("no", "").lower().replace(" ", ",").split(","):
        if entry == "*" or (address is not None and _holds(entry, str(address))):
            return True
        name, colon, number = entry.rpartition(":")
        if colon and number.isdigit() and "]" not in number:
            if int(number) != port:
                continue
            entry = name
        entry = entry.strip("[]").removeprefix("*").strip(".")
        if entry and (host == entry or (address is None and host.endswith(f".{entry}"))):
            return True
    return False


def _holds(entry: str, address: str) -> bool:
    """True if the entry is an address or a network, such as `10.0.0.0/8`, with the address in it."""
    try:
        return ip_address(address) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
