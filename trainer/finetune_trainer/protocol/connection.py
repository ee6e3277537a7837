"""HTTP with the server over a Unix socket or http/https: one keep-alive connection, and what a status means."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from collections.abc import Callable
from typing import Any

from .tls import https_connection

PREFIX = "/trainer/v1"
MAX_PART_BYTES = 8 * 1024 * 1024


class Refused(Exception):
    """The server has replaced this attempt or ended the job (401, 409, 410)."""


class Busy(OSError):
    """The server answered that it is busy or failing; trying again may help."""


class HttpFailure(Exception):
    """A response that another try will not change. `status` and the decoded body are kept."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"the server answered {status}: {_message(body)}")
        self.status = status
        self.body = body


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Connection:
    """One keep-alive connection to the server. Not thread-safe: each thread makes its own."""

    part_bytes = MAX_PART_BYTES

    def __init__(
        self, url: str, token: str, on_contact: Callable[[], None] = lambda: None, timeout: float = 60
    ) -> None:
        self._url, self._timeout = url, timeout
        self._headers = {"authorization": f"Bearer {token}"}
        self._http: http.client.HTTPConnection | None = None
        self._on_contact = on_contact

    def _open(self) -> http.client.HTTPConnection:
        if self._url.startswith("unix:"):
            return UnixConnection(self._url[len("unix:") :], timeout=self._timeout)
        parts = urllib.parse.urlsplit(self._url)
        if parts.scheme == "https":
            return https_connection(parts.netloc, self._timeout)
        return http.client.HTTPConnection(parts.netloc, timeout=self._timeout)

    def once(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Sends one request; `body` is bytes or JSON. The caller reads the response to its end. Raises OSError without
        a connection.
        """
        sent = dict(self._headers, **(headers or {}))
        if body is not None and not isinstance(body, (bytes, memoryview)):
            body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            sent["content-type"] = "application/json"
        try:
            if self._http is None:
                self._http = self._open()
            self._http.request(method, PREFIX + path, body=body, headers=sent)
            response = self._http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(f"no connection to the server: {error}") from error
        self._on_contact()
        return response

    def json(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Sends one request, without retry, and returns the decoded response. Raises Refused, HttpFailure, or OSError
        when a retry may help.
        """
        response = self.once(method, path, body, headers)
        try:
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(f"the response was cut off: {error}") from error
        try:
            value = json.loads(raw) if raw else {}
        except ValueError:
            value = {"error": {"message": raw[:500].decode("utf-8", "replace")}}
        check_status(response.status, value)
        return value

    def close(self) -> None:
        """Drops the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
            self._http = None


def check_status(status: int, body: Any) -> None:
    """Returns for a status below 400; else raises Refused, HttpFailure, or OSError when a retry may help."""
    if status < 400:
        return
    code = body.get("error", {}).get("code") if isinstance(body, dict) and isinstance(body.get("error"), dict) else None
    if status in (401, 410) or (status == 409 and code != "wrong_offset"):
        raise Refused(f"the server refused this attempt ({status}): {_message(body)}")
    if status == 429 or status >= 500:
        raise Busy(f"the server is busy or failing ({status}): {_message(body)}")
    raise HttpFailure(status, body)


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("message", error)) if isinstance(error, dict) else str(body)[:300]
