"""The object-store mailbox: requests and answers of the protocol as objects of a bucket, for a server that accepts no
connections. Every address is presigned, so no key of the bucket is on this machine.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import http.client
import io
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

from .connection import Busy, Connection, Refused, check_status
from .tls import https_connection

SCHEME = "mailbox:"
# The server writes part files of this size into its artifact: a round trip takes about a second, whatever its size.
PART_BYTES = 64 * 1024 * 1024
FIRST_WAIT_S, LONGEST_WAIT_S = 0.15, 1.0
MAX_ANSWER = 64 * 1024 * 1024


class Expired(OSError):
    """The bucket refused a presigned address: it has expired."""


class Bucket:
    """HTTP to presigned addresses over one keep-alive connection. Not thread-safe."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._netloc = ""
        self._http: http.client.HTTPConnection | None = None

    def send(
        self,
        method: str,
        address: str,
        body: list[bytes | memoryview] | None = None,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Sends one request. The caller reads the response to its end. Raises OSError without a connection."""
        parts = urllib.parse.urlsplit(address)
        sent = dict(headers or {})
        if body is not None:
            sent["content-length"] = str(sum(len(piece) for piece in body))
        try:
            if self._http is None or self._netloc != parts.netloc:
                self.close()
                self._netloc = parts.netloc
                self._http = (
                    https_connection(parts.netloc, self._timeout)
                    if parts.scheme == "https"
                    else http.client.HTTPConnection(parts.netloc, timeout=self._timeout)
                )
            self._http.request(method, f"{parts.path}?{parts.query}", body=body, headers=sent)
            return self._http.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(f"no connection to the bucket: {error}") from error

    def whole(self, method: str, address: str, body: list[bytes | memoryview] | None = None) -> tuple[int, bytes]:
        """Sends one request; returns status and body. Raises Expired, or OSError when a retry may help."""
        response = self.send(method, address, body)
        try:
            content = response.read(MAX_ANSWER)
            response.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise OSError(f"the bucket's answer was cut off: {error}") from error
        if response.status in (400, 401, 403):
            raise Expired(
                f"the bucket refused an address ({response.status}): {content[:200].decode('utf-8', 'replace')}"
            )
        if response.status >= 429:
            raise Busy(f"the bucket is busy or failing ({response.status})")
        return response.status, content

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None


class Answer:
    """An answer of the server, with what callers read of an `http.client.HTTPResponse`."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self._body = status, Message(), io.BytesIO(body)
        for name, value in headers.items():
            self.headers[name] = value

    def read(self) -> bytes:
        return self._body.read()

    def read1(self, size: int) -> bytes:
        return self._body.read(size)

    def close(self) -> None:
        pass


def exchange(
    bucket: Bucket, put: str, get: str, head: dict[str, Any], body: bytes | memoryview, timeout: float
) -> tuple[dict[str, Any], bytes]:
    """Puts one request and waits for the answer with its number. Raises OSError when none comes within `timeout`
    seconds.
    """
    line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    status, _ = bucket.whole("PUT", put, [line, body])
    if status >= 300:
        raise OSError(f"the bucket did not take the request ({status})")
    until, wait = time.monotonic() + timeout, FIRST_WAIT_S
    while True:
        time.sleep(wait)
        wait = min(wait * 1.5, LONGEST_WAIT_S)
        try:
            status, content = bucket.whole("GET", get)
        except Expired:
            raise
        except OSError:
            status, content = 0, b""  # the request is there: only the answer is looked for again
        if status == 200:
            first, _, rest = content.partition(b"\n")
            with contextlib.suppress(ValueError):
                found = json.loads(first)
                if isinstance(found, dict) and found.get("n") == head["n"]:
                    return found, rest
        if time.monotonic() > until:
            raise OSError(f"no answer in the mailbox within {timeout:.0f} s")


class Addresses:
    """The presigned addresses of an attempt, in scratch for its other processes. The server renews them in the bucket
    before they expire.
    """

    def __init__(self, scratch: Path) -> None:
        self._kept = scratch / "mailbox.json"
        self.folder = scratch / "mailbox"
        self._found: dict[str, Any] | None = None
        self._read_at = 0.0
        self._lock = threading.Lock()

    def keep(self, address: str) -> None:
        """Stores where the addresses are."""
        part = self._kept.with_suffix(f".{os.getpid()}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump({"addresses": address}, stream)
        part.rename(self._kept)

    def lane(self, bucket: Bucket, number: int, again: bool = False) -> dict[str, list[str]]:
        """The addresses of a lane; read from the bucket when they are old, or `again`. Raises Refused when the server
        has removed the mailbox, because the attempt is over.
        """
        with self._lock:
            old = self._found is None or time.monotonic() - self._read_at > float(self._found["valid_s"]) / 4
            if old or again:
                self._read(bucket)
            assert self._found is not None
            lanes = self._found["lanes"]
            return lanes[number % len(lanes)]

    def count(self, bucket: Bucket) -> int:
        """How many requests may be on their way at the same time."""
        self.lane(bucket, 0)
        assert self._found is not None
        return len(self._found["lanes"])

    def _read(self, bucket: Bucket) -> None:
        address = json.loads(self._kept.read_text("utf-8"))["addresses"]
        status, content = bucket.whole("GET", address)
        if status == 404:
            raise Refused("the server has removed the mailbox of this attempt")
        if status != 200:
            raise OSError(f"the bucket answered {status}")
        self._found = json.loads(content)
        self._read_at = time.monotonic()
        self.keep(self._found["renew"])


class MailboxConnection(Connection):
    """Sends requests through a lane of the mailbox: two objects for requests and two for answers, used in turns. A lane
    belongs to one connection at a time, over all processes of the attempt.
    """

    part_bytes = PART_BYTES

    def __init__(
        self,
        token: str,
        addresses: Addresses,
        on_contact: Callable[[], None] = lambda: None,
        timeout: float = 60,
    ) -> None:
        super().__init__(SCHEME, token, on_contact, timeout)
        self._addresses = addresses
        self._bucket = Bucket(min(timeout, 60))
        self._lane: int | None = None
        self._claim: io.FileIO | None = None
        self._late = False

    def _take_lane(self) -> int:
        if self._lane is not None:
            return self._lane
        count = self._addresses.count(self._bucket)
        self._addresses.folder.mkdir(parents=True, exist_ok=True)
        while True:
            for number in range(count):
                claim = io.FileIO(
                    os.open(self._addresses.folder / f"lane-{number}", os.O_RDWR | os.O_CREAT, 0o600), "r+"
                )
                try:
                    fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    claim.close()
                    continue
                self._lane, self._claim = number, claim
                return number
            time.sleep(0.2)

    def _next_number(self) -> int:
        """The number of the next request of this lane. It outlives the process."""
        assert self._claim is not None
        self._claim.seek(0)
        text = self._claim.read(32) or b""
        number = int(text) + 1 if text.strip().isdigit() else 1
        self._claim.seek(0)
        self._claim.write(b"%-20d" % number)
        return number

    def once(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """As of a Connection. Answers that are files come from the bucket itself."""
        sent = dict(self._headers, **(headers or {}))
        if body is None:
            body = b""
        elif not isinstance(body, (bytes, memoryview)):
            body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            sent["content-type"] = "application/json"
        lane = self._take_lane()
        urls = self._addresses.lane(self._bucket, lane, self._late)
        number = self._next_number()
        head = {"n": number, "method": method, "path": path, "headers": sent}
        try:
            found, content = exchange(
                self._bucket, urls["put"][number % 2], urls["get"][number % 2], head, body, self._timeout
            )
        except OSError:
            # Perhaps the addresses have expired, or the attempt is over and its mailbox gone: the next try looks.
            self._late = True
            raise
        self._late = False
        self._on_contact()
        answered = {str(name): str(value) for name, value in (found.get("headers") or {}).items()}
        if found["status"] != 307:
            return Answer(int(found["status"]), answered, content)
        ranged = {name: value for name, value in sent.items() if name == "range"}
        response = self._bucket.send("GET", answered["location"], headers=ranged)
        if response.status >= 400 and response.status != 416:
            response.read()
            raise OSError(f"the bucket answered {response.status} for a file")
        if ranged and response.headers.get("content-range") and response.status == 200:
            response.status = 206  # some servers answer 200 with a part
        return response

    def close(self) -> None:
        """Drops the connection and frees its lane."""
        self._bucket.close()
        if self._claim is not None:
            fcntl.flock(self._claim, fcntl.LOCK_UN)  # also for forks of this process
            self._claim.close()
        self._claim = self._lane = None


def exchange_bootstrap(url: str, token: str, nonce: str, scratch: Path, timeout: float = 60) -> str:
    """The token of the attempt for a bootstrap token. `url` has the two addresses of the exchange, and nothing else can
    be reached with them. Raises Refused, or OSError when a retry may help.
    """
    put, get = json.loads(base64.urlsafe_b64decode(url[len(SCHEME) :] + "=="))
    head = {
        # The number is unguessable for others who can read the answer, and is the same for each try.
        "n": int(hashlib.sha256(f"number {nonce}".encode()).hexdigest()[:12], 16),
        "method": "POST",
        "path": "/bootstrap",
        "headers": {"authorization": f"Bearer {token}", "content-type": "application/json"},
    }
    bucket = Bucket(60)
    try:
        found, content = exchange(bucket, put, get, head, json.dumps({"nonce": nonce}).encode(), timeout)
    finally:
        bucket.close()
    if found["status"] != 200:
        try:
            value = json.loads(content)
        except ValueError:
            value = {}
        check_status(int(found["status"]), value)
    answer = json.loads(unseal(nonce, content))
    Addresses(scratch).keep(answer["addresses"])
    return str(answer["token"])


def unseal(key: str, sealed: bytes) -> bytes:
    """The text of an answer that only the holder of the nonce can read: salt, tag, and the text under a key stream of
    HMAC-SHA256. Raises OSError when it was made with another nonce.
    """
    salt, tag, hidden = sealed[:16], sealed[16:48], sealed[48:]
    secret = key.encode()
    if not hmac.compare_digest(tag, hmac.digest(secret, b"tag" + salt + hidden, "sha256")):
        raise OSError("the answer in the mailbox was made for somebody else")
    stream = b"".join(
        hmac.digest(secret, b"stream" + salt + at.to_bytes(4, "big"), "sha256") for at in range(len(hidden) // 32 + 1)
    )
    return bytes(one ^ other for one, other in zip(hidden, stream, strict=False))
