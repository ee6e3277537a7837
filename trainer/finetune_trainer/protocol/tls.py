"""HTTPS to the server: certificates of public authorities, or those whose fingerprints the launch named."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import ssl
import urllib.parse
import urllib.request

FINGERPRINT = "FTL_HOME_FINGERPRINT"


class PinnedConnection(http.client.HTTPSConnection):
    """HTTPS that also compares the server's own certificate, where that is what the launch named."""

    leaf: str | None = None

    def connect(self) -> None:
        super().connect()
        if self.leaf is not None and _sha256(self.sock.getpeercert(True)) != self.leaf:
            self.close()
            raise ssl.SSLCertVerificationError("the certificate of the server is not the one that the launch named")


def https_connection(netloc: str, timeout: float) -> http.client.HTTPSConnection:
    """A connection to the server, not yet open, through the proxy of `https_proxy` where that is set. With fingerprints
    in FTL_HOME_FINGERPRINT (separated by commas) it trusts these certificates and no others. Raises OSError.
    """
    pins = {pin.replace(":", "").strip().lower() for pin in os.environ.get(FINGERPRINT, "").split(",") if pin.strip()}
    if not pins:
        return public_connection(netloc, timeout)
    chain = _chain_of(netloc, timeout)
    found = next((der for der in chain if _sha256(der) in pins), None)
    if found is None:
        raise ssl.SSLCertVerificationError(
            f"no certificate of {netloc} has the fingerprint that the launch named; its own is {_sha256(chain[0])}"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=found)
    # The named certificate may be signed by another: it is trusted by itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    is_leaf = found == chain[0]
    # An authority vouches for a name. The server's own certificate is exactly the one that was named.
    context.check_hostname = not is_leaf
    connection = _through_proxy(netloc, timeout, context)
    connection.leaf = _sha256(found) if is_leaf else None
    return connection


def public_connection(netloc: str, timeout: float) -> http.client.HTTPSConnection:
    """A connection to another server than the own one, not yet open: its certificate is of a public authority, or of
    one of this machine (SSL_CERT_FILE). The fingerprints of the launch say nothing about it.
    """
    return _through_proxy(netloc, timeout, ssl.create_default_context())


def _chain_of(netloc: str, timeout: float) -> list[bytes]:
    """The certificates that the server sends, its own first, as DER. Nothing is sent over this connection and nothing
    of it is trusted: the hashes decide, and the connection for requests verifies again.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = _through_proxy(netloc, timeout, context)
    connection.connect()
    try:
        own = connection.sock.getpeercert(True)
        if hasattr(connection.sock, "get_unverified_chain"):  # Python 3.13
            chain = connection.sock.get_unverified_chain()
        else:
            chain = [one.public_bytes(2) for one in connection.sock._sslobj.get_unverified_chain() or []]
    finally:
        connection.close()
    if own is None:
        raise ssl.SSLCertVerificationError(f"{netloc} sent no certificate")
    return [own, *(bytes(one) for one in chain if bytes(one) != own)]


def _through_proxy(netloc: str, timeout: float, context: ssl.SSLContext) -> PinnedConnection:
    proxy = urllib.request.getproxies().get("https")
    if not proxy or urllib.request.proxy_bypass(netloc):
        return PinnedConnection(netloc, timeout=timeout, context=context)
    parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    connection = PinnedConnection(parts.hostname or "", parts.port or 80, timeout=timeout, context=context)
    headers = {}
    if parts.username:
        user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["proxy-authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    connection.set_tunnel(netloc, headers=headers)
    return connection


def _sha256(der: bytes | None) -> str:
    return hashlib.sha256(der or b"").hexdigest()
