"""Messages for requests that did not arrive: what was found, and what may help."""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit

import aiohttp

from runner.cluster.proxies import Proxy

# Verdicts on certificates, as OpenSSL numbers them (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAMES = (62, 64)

_TRUST = (
    "name the file of the CA that signed it (ELASTICSEARCH_CA_CERTS) or its fingerprint (ELASTICSEARCH_FINGERPRINT); "
    "ELASTICSEARCH_VERIFY_CERTS=false turns the check off"
)


def describe(error: BaseException, url: str, *, proxy: Proxy | None) -> str:
    """The failure of a request to `url` through `proxy`, in words that follow `can not be reached:`."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return _refused_by_proxy(error.status, error.message, proxy)
        case aiohttp.ClientProxyConnectionError():
            return f"the proxy {proxy} can not be reached: {_why(error.os_error)}"
        case aiohttp.ServerFingerprintMismatch():
            return (
                "the fingerprint of its certificate is another one than the one set: "
                f"found {error.got.hex()}, expected {error.expected.hex()}"
            )
        case aiohttp.ClientConnectorCertificateError():
            return _certificate_trouble(error.certificate_error, url)
        case aiohttp.ClientConnectorDNSError():
            # Where there is a proxy, our own look-up is that of the proxy's name.
            name = urlsplit(proxy.url if proxy else url).hostname
            return f"{'the proxy' if proxy else 'the host'} name `{name}` is not known: {_why(error.os_error)}"
        case aiohttp.ClientConnectorSSLError():
            return _tls_trouble(f"{error.os_error.reason if isinstance(error.os_error, ssl.SSLError) else error}")
        case aiohttp.ClientConnectorError():
            return _why(error.os_error)
    text = str(error) or type(error).__name__
    if "ALERT_" in text or isinstance(error, ssl.SSLError):
        return _tls_trouble(text)
    if url.startswith("http:") and _is_tls(error):
        return f"{text}; if the cluster uses TLS, write https://"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"what answers there does not speak HTTP ({error.message or text})"
    return text


def _refused_by_proxy(status: int, reason: str, proxy: Proxy | None) -> str:
    if status == 407:
        return wrong_proxy_login(proxy)
    return f"the proxy {proxy} answers {status} {reason}".rstrip()


def wrong_proxy_login(proxy: Proxy | None) -> str:
    """The message for a proxy that wants a user and password (407)."""
    if proxy is None:
        return "a proxy before it asks for a user and password (407)"
    found = f'does not accept the user "{proxy.username}"' if proxy.username else "asks for a user and password"
    return f"the proxy {proxy} {found} (407): write http://user:password@host:port"


def _certificate_trouble(error: Exception, url: str) -> str:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
    if code == _EXPIRED:
        return "TLS failed, its certificate is not trusted: it has expired; renew it (or check this machine's clock)"
    if code == _NOT_YET_VALID:
        return "TLS failed, its certificate is not trusted: it is not yet valid; check this machine's clock"
    if code in _WRONG_NAMES:
        name = urlsplit(url).hostname
        return (
            f"TLS failed, its certificate is for other names than `{name}`: use a name that the certificate bears, "
            "or set the certificate's fingerprint (ELASTICSEARCH_FINGERPRINT)"
        )
    return f"TLS failed, its certificate is not trusted ({said}): {_TRUST}"


def _tls_trouble(text: str) -> str:
    """What TLS failures that are not about the server's certificate mean; the names are those of OpenSSL."""
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text or "record layer failure" in text:
        return "TLS failed, the port speaks plain HTTP: write http:// if that is meant"
    if "ALERT_CERTIFICATE_REQUIRED" in text:
        return "TLS failed, the server asks for a client certificate (ELASTICSEARCH_CLIENT_CERT)"
    if found := re.search(r"ALERT_((?:BAD|UNKNOWN|UNSUPPORTED|EXPIRED|REVOKED)_\w+|CERTIFICATE_\w+)", text):
        said = found[1].lower().replace("_", " ")
        return f"TLS failed, the server does not accept the client certificate ({said})"
    return f"TLS failed: {text}"


def _is_tls(error: BaseException) -> bool:
    """True if a server that speaks TLS may have answered so to plain HTTP: it hangs up, or sends a TLS alert."""
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return True
    if isinstance(error, aiohttp.ClientOSError):
        return error.errno is not None
    # 21 is the record type of an alert, 3 the major version (RFC 8446, 5.1).
    return isinstance(error, aiohttp.ClientResponseError) and r"\x15\x03" in repr(error)


def _why(error: OSError) -> str:
    """The reason of the operating system, or of the name service."""
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return f"connection refused ({error})"
    return str(error.strerror or error)
