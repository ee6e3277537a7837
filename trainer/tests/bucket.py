"""A bucket in memory with presigned addresses, and the server's side of the mailbox in front of a HomeServer: each
request object is passed on, answered and removed, as src/training/mailbox does it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from home_server import HomeServer

from finetune_trainer.protocol.connection import PREFIX, UnixConnection
from finetune_trainer.protocol.mailbox import Addresses

LANES = 3


class MailboxServer:
    """`faults` are statuses that the next requests to the bucket are answered with, after their effect for 599."""

    def __init__(self, home: HomeServer):
        self.home = home
        self.objects: dict[str, bytes] = {}
        self.faults: list[int] = []
        self.revoked: set[str] = set()  # signatures that have expired
        self.signature = "first"
        self.lost_answers = 0  # answers that are removed before anybody reads them
        self.asked: list[str] = []
        self.stopped = threading.Event()
        box = self

        class Handler(_Handler):
            server_state = box

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self._relay = threading.Thread(target=self._pass_on, daemon=True)
        self._relay.start()
        self.renew()

    def address(self, key: str, signature: str | None = None) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/{key}?signature={signature or self.signature}"

    def renew(self, signature: str | None = None) -> None:
        """Writes addresses with a new signature."""
        self.signature = signature or self.signature
        lanes = [
            {
                way: [self.address(f"{side}/{lane}-{slot}") for slot in (0, 1)]
                for way, side in (("put", "in"), ("get", "out"))
            }
            for lane in range(LANES)
        ]
        value = {"version": 1, "valid_s": 7200, "renew": self.address("addresses", "renew"), "lanes": lanes}
        self.objects["addresses"] = json.dumps(value).encode()

    def enter(self, scratch: Path) -> str:
        """Puts what a bootstrap leaves into scratch; returns the address for a Home."""
        scratch.mkdir(parents=True, exist_ok=True)
        Addresses(scratch).keep(self.address("addresses", "renew"))
        return "mailbox:"

    def close(self) -> None:
        self.stopped.set()
        self._relay.join()
        self._http.shutdown()
        self._http.server_close()

    def _pass_on(self) -> None:
        while not self.stopped.wait(0.02):
            for key in [key for key in list(self.objects) if key.startswith("in/")]:
                with contextlib.suppress(OSError):  # the server does not answer: the request stays
                    self._answer(key)

    def _answer(self, key: str) -> None:
        line, _, body = self.objects[key].partition(b"\n")
        head = json.loads(line)
        slices = [body[at : at + (8 << 20)] for at in range(0, len(body), 8 << 20)] or [b""]
        status, headers, content = self._ask(head, head["path"], slices[0])
        for piece in slices[1:]:
            path, _, offset = head["path"].partition("offset=")
            status, headers, content = self._ask(head, f"{path}offset={int(offset) + (8 << 20)}", piece)
        out = key.replace("in/", "out/")
        if self.lost_answers > 0:
            self.lost_answers -= 1
        elif head["path"].startswith(("/inputs/", "/data/")) and not head["path"].endswith("/digest") and status < 300:
            self.objects["file"] = self._whole(head)
            first = {"n": head["n"], "status": 307, "headers": {"location": self.address("file")}}
            self.objects[out] = json.dumps(first).encode() + b"\n"
        else:
            self.objects[out] = (
                json.dumps({"n": head["n"], "status": status, "headers": headers}).encode() + b"\n" + content
            )
        self.objects.pop(key, None)

    def _whole(self, head: dict) -> bytes:
        return self._ask({**head, "headers": {**head["headers"], "range": "bytes=0-"}}, head["path"], b"")[2]

    def _ask(self, head: dict, path: str, body: bytes) -> tuple[int, dict, bytes]:
        connection = UnixConnection(str(self.home.path), 10)
        try:
            connection.request(head["method"], PREFIX + path, body, head["headers"])
            response = connection.getresponse()
            return response.status, {}, response.read()
        except Exception as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: MailboxServer

    def log_message(self, *_):
        pass

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def handle_request(self) -> None:
        state = self.server_state
        path, _, query = self.path[1:].partition("?signature=")
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        state.asked.append(f"{self.command} {path}")
        if query in state.revoked:
            return self.answer(403, b"<Code>AccessDenied</Code><Message>Request has expired</Message>")
        if state.faults:
            return self.answer(state.faults.pop(0))
        if self.command == "PUT":
            state.objects[path] = content
            return self.answer(200)
        found = state.objects.get(path)
        if found is None:
            return self.answer(404)
        start = int((self.headers.get("range") or "bytes=0-").split("=")[1].rstrip("-"))
        if start:
            return self.answer(206, found[start:], content_range=f"bytes {start}-{len(found) - 1}/{len(found)}")
        return self.answer(200, found)

    do_GET = do_PUT = handle_request


def until(done, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)
