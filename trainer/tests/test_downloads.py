"""Downloads from a server elsewhere: they go on where a connection broke, and only bytes with the right hash count."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading

import pytest

from finetune_trainer.protocol.failures import BadData, ModelLoad
from finetune_trainer.protocol.home import Home
from finetune_trainer.protocol.inputs import fetch_rows, input_dir

ROWS = b"".join(b'{"id":%d}\n' % n for n in range(20_000))
FILE = {"path": "model.safetensors", "size": len(ROWS), "sha256": hashlib.sha256(ROWS).hexdigest()}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ROWS by ranges; the first answers break off, or have a wrong byte, as the test says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        if self.path.endswith("/digest"):
            known = self.path == "/trainer/v1/data/train/digest"
            return self.answer(
                200 if known else 404, json.dumps({"size": len(ROWS), "sha256": FILE["sha256"]}).encode()
            )
        given = self.headers.get("range")
        start = int(given.removeprefix("bytes=").removesuffix("-")) if given else 0
        server.starts.append(start)
        if start >= len(ROWS):
            return self.answer(416, b"")
        body = bytearray(ROWS[start:])
        if server.wrong:
            server.wrong -= 1
            body[0] ^= 1
        if server.breaks:
            server.breaks -= 1
            self.send_response(206 if given else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:50_000])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
            return None
        return self.answer(206 if given else 200, bytes(body))

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.breaks, server.wrong, server.starts = 0, 0, []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def rows(home: Home):
    return fetch_rows(home, "train").read_bytes()


def weights(home: Home):
    return (input_dir(home, "base", {"local_path": None, "files": [FILE]}) / FILE["path"]).read_bytes()


@pytest.fixture
def home(server, tmp_path):
    tmp_path.mkdir(exist_ok=True)
    return Home(f"http://127.0.0.1:{server.server_address[1]}", "token", tmp_path)


@pytest.mark.parametrize("get", [rows, weights])
def test_go_on_where_the_connection_broke(server, home, get):
    server.breaks = 2
    assert get(home) == ROWS
    assert server.starts == [0, 50_000, 100_000]


@pytest.mark.parametrize("get", [rows, weights])
def test_begin_again_when_the_hash_is_wrong(server, home, get):
    server.wrong = 2
    assert get(home) == ROWS
    assert server.starts == [0, 0, 0]


@pytest.mark.parametrize(("get", "error"), [(rows, BadData), (weights, ModelLoad)])
def test_bytes_that_stay_wrong_are_refused(server, home, get, error):
    server.wrong = 3
    with pytest.raises(error, match="hash"):
        get(home)


def test_a_split_that_the_job_has_not(home):
    assert fetch_rows(home, "validation") is None
