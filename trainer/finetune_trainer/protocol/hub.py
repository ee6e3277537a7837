"""Downloads files of a base model from the hub, where the server allows it: at a commit, without a token, and kept only
with the size and the SHA-256 that the server names.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .tls import public_connection

# The end of an address of a commit, by its length.
COMMIT = re.compile(r"/resolve/[0-9a-f]{40}/")
COMMIT_LENGTH = 50
# What no address has.
ODD = re.compile(r"[\s?#@]")
# The file hosts that the hub redirects large files to, and their subdomains.
STORAGE = ("hf.co", "huggingface.co")
HOST = re.compile(r"[a-z0-9.-]+")
TIMEOUT_S = 20
"""How long the hub may take to accept a connection, and to send anything."""
MAX_REDIRECTS = 5
SLOW_AFTER_S, SLOW_BYTES = 30.0, 2 * 1024 * 1024
"""A hub that sends less than this in such a time is given up: the machine costs money."""


class HubFailure(Exception):
    """The hub did not give a file as the server names it."""


def hub_of(entry: dict[str, Any]) -> Hub | None:
    """The hub of an input; None when the server names none. Raises HubFailure for what this trainer does not know."""
    source = entry.get("hub")
    if source is None:
        return None
    if not isinstance(source, dict) or source.keys() != {"url"} or not isinstance(source["url"], str):
        raise HubFailure("the server names the hub in a way that this trainer does not know")
    if not is_address(source["url"]):
        raise HubFailure("the server names an address of the hub that is not one of a commit")
    return Hub(source["url"])


def is_address(url: str) -> bool:
    """Whether this is the address of a repository at a commit: `https?://HOST…/resolve/COMMIT/`."""
    start, end = url[:-COMMIT_LENGTH], url[-COMMIT_LENGTH:]
    scheme = next((scheme for scheme in ("https://", "http://") if start.startswith(scheme)), None)
    return scheme is not None and start != scheme and not ODD.search(start) and COMMIT.fullmatch(end) is not None


def is_storage(host: str) -> bool:
    """Whether this is a file host of the hub."""
    return HOST.fullmatch(host) is not None and any(host == one or host.endswith(f".{one}") for one in STORAGE)


class Hub:
    """The files of a repository at a commit. `name` is the host, for people."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = urllib.parse.urlsplit(url).netloc

    def download(self, file: dict[str, Any], part: Path) -> None:
        """Completes `part` with the bytes of a file. Raises HubFailure; a part with a right beginning is then kept."""
        size, digest = int(file["size"]), hashlib.sha256()
        if part.exists() and part.stat().st_size > size:
            part.unlink()
        have = _hashed(part, digest)
        while have < size:
            before = have
            try:
                with self._open(file["path"], have) as response:
                    if have and response.status == 200:
                        have, digest = 0, hashlib.sha256()
                    have = _receive(response, part, have, size, digest)
            except (OSError, ValueError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) == 28:
                    raise  # the disk is full
                have = _hashed(part, digest := hashlib.sha256())
                if have <= before:
                    raise HubFailure(f"{self.name} did not send {file['path']} ({error})") from error
        if not part.exists():
            part.touch()
        if digest.hexdigest() != file["sha256"]:
            part.unlink()
            raise HubFailure(f"{file['path']} of {self.name} does not have the hash that the job names")

    @contextlib.contextmanager
    def _open(self, path: str, have: int) -> Iterator[http.client.HTTPResponse]:
        """The answer with the bytes from `have` on, after redirects. Raises HubFailure, or OSError without one."""
        address = self._url + urllib.parse.quote(path)
        for _ in range(MAX_REDIRECTS + 1):
            parts = urllib.parse.urlsplit(address)
            connection = (
                public_connection(parts.netloc, TIMEOUT_S)
                if parts.scheme == "https"
                else http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
            )
            try:
                headers = {"user-agent": "finetune-trainer", **({"range": f"bytes={have}-"} if have else {})}
                asked = urllib.parse.urlunsplit(("", "", parts.path, parts.query, ""))
                connection.request("GET", asked, headers=headers)
                response = connection.getresponse()
                if response.status in (301, 302, 303, 307, 308):
                    address = self._next(address, response.headers.get("location") or "")
                    continue
                if response.status not in (200, 206):
                    raise HubFailure(f"{self.name} answered {response.status} for {path}")
                yield response
                return
            finally:
                connection.close()
        raise HubFailure(f"{self.name} redirected more than {MAX_REDIRECTS} times for {path}")

    def _next(self, address: str, location: str) -> str:
        """The address of a redirect: of the hub itself, or of its file hosts over HTTPS."""
        found = urllib.parse.urljoin(address, location)
        own, to = urllib.parse.urlsplit(self._url), urllib.parse.urlsplit(found)
        if (to.scheme, to.netloc) == (own.scheme, own.netloc):
            return found
        if to.scheme == "https" and is_storage(to.netloc):
            return found
        raise HubFailure(f"{self.name} redirected to an address that is not one of its own")


def _hashed(part: Path, digest: Any) -> int:
    """Adds what is in `part` to the digest; returns its size."""
    if not part.exists():
        return 0
    with part.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return part.stat().st_size


def _receive(response: http.client.HTTPResponse, part: Path, have: int, size: int, digest: Any) -> int:
    """Writes an answer after the first `have` bytes of `part`; returns how many there are then."""
    since, came = time.monotonic(), 0
    with part.open("ab" if have else "wb") as stream:
        while piece := response.read1(1 << 20):
            have += len(piece)
            if have > size:
                stream.truncate(0)
                raise HubFailure("the hub sent more bytes than the file has")
            stream.write(piece)
            digest.update(piece)
            came += len(piece)
            took = time.monotonic() - since
            if took > SLOW_AFTER_S:
                if came < SLOW_BYTES:
                    raise HubFailure(f"the hub sent {came} bytes in {took:.0f} s")
                since, came = time.monotonic(), 0
    if have < size:
        raise OSError("the download was cut off")
    return have
