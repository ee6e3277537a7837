"""Base models from the hub: by commit, checked by size and hash; what the hub does not give comes from the server."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from pathlib import Path

import json_schema
import pytest
from bucket import MailboxServer
from home_server import TOKEN, HomeServer

from finetune_trainer.protocol import hub as hub_module
from finetune_trainer.protocol.home import Home
from finetune_trainer.protocol.hub import HubFailure, hub_of
from finetune_trainer.protocol.inputs import input_dir

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG, WEIGHTS = b'{"tiny":true}', bytes(range(256)) * 2000
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS}
ENTRIES = [
    {"path": path, "size": len(bytes_), "sha256": hashlib.sha256(bytes_).hexdigest()} for path, bytes_ in FILES.items()
]
SCHEMA = json.loads((Path(__file__).parents[1] / "finetune_trainer/spec/schema.json").read_text("utf-8"))["hub_source"]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves FILES by ranges, below the path of a commit or of the server; `trick` may answer in its place."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("range"), self.headers.get("authorization")))
        if self.server.trick(self):
            return
        self.send_file(FILES[self.path.rsplit("/", 1)[-1]])

    def send_file(self, content: bytes, cut: int | None = None):
        given = self.headers.get("range")
        body = content[int(given.removeprefix("bytes=").removesuffix("-")) if given else 0 :]
        self.send_response(206 if given else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True

    def send_status(self, status: int, **headers: str):
        self.send_response(status)
        self.send_header("content-length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def start():
    servers = []

    def serve():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.seen, server.trick = [], lambda handler: False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Site:
    """A server, a hub, and a trainer between them."""

    def __init__(self, start, scratch: Path):
        self.server, self.hub = start(), start()
        self.name = f"127.0.0.1:{self.hub.server_port}"
        self.home = Home(f"http://127.0.0.1:{self.server.server_port}", "attempt-secret", scratch)
        self.lines: list[tuple[str, str]] = []
        self.home.log = lambda level, message: self.lines.append((level, message))

    def get(self, url: str | None = None) -> dict[str, bytes]:
        hub = {"url": url or f"http://{self.name}/acme/small/resolve/{COMMIT}/"}
        folder = input_dir(self.home, "base", {"local_path": None, "files": ENTRIES, "hub": hub})
        return {path: (folder / path).read_bytes() for path in FILES}

    def asked(self, server: str) -> list[tuple[str, str | None]]:
        return [(path.rsplit("/", 1)[-1], given) for path, given, _ in getattr(self, server).seen]

    def warnings(self) -> list[str]:
        return [message for level, message in self.lines if level == "warn"]


@pytest.fixture
def site(start, tmp_path):
    return Site(start, tmp_path)


def test_all_files_come_from_the_hub_without_any_token(site):
    assert site.get() == FILES
    assert site.server.seen == []
    path = f"/acme/small/resolve/{COMMIT}"
    assert site.hub.seen == [(f"{path}/config.json", None, None), (f"{path}/model.safetensors", None, None)]
    assert site.lines[-1][1].startswith(f"downloaded base: 2 files (0.5 MB) from the hub ({site.name}) in ")
    assert site.warnings() == []


def test_a_redirect_within_the_hub_is_followed_and_one_elsewhere_is_not(site, start):
    def store(handler):
        if handler.path.startswith("/acme/"):
            handler.send_status(302, location=f"/store/{handler.path.rsplit('/', 1)[-1]}?signature=a%2Fb")
            return True
        handler.path = handler.path.partition("?")[0]
        return False

    site.hub.trick = store
    assert site.get() == FILES
    assert site.server.seen == []
    assert site.hub.seen[1][0] == "/store/config.json?signature=a%2Fb"
    other = Site(start, site.home.scratch / "other")
    other.hub.trick = lambda handler: handler.send_status(302, location="http://169.254.169.254/latest") or True
    assert other.get() == FILES
    assert other.asked("server") == [("config.json", None), ("model.safetensors", None)]
    assert "redirected to an address that is not one of its own" in other.warnings()[0]


def test_a_broken_download_goes_on_at_the_hub(site):
    def cut(handler):
        if "model" in handler.path and len(site.hub.seen) < 4:
            handler.send_file(WEIGHTS, cut=100_000)
            return True
        return False

    site.hub.trick = cut
    assert site.get() == FILES
    assert [given for _, given in site.asked("hub")] == [None, None, "bytes=100000-", "bytes=200000-"]
    assert site.server.seen == []


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_a_refusal_falls_back_to_the_server_once_for_all_files(site, status):
    site.hub.trick = lambda handler: handler.send_status(status) or True
    assert site.get() == FILES
    assert site.asked("hub") == [("config.json", None)]
    assert site.asked("server") == [("config.json", None), ("model.safetensors", None)]
    assert site.server.seen[0][2] == "Bearer attempt-secret"
    expected = f"base: {site.name} answered {status} for config.json. This file and the next ones come from the server."
    assert site.warnings() == [expected]
    assert site.lines[-1][1].startswith("downloaded base: 2 files (0.5 MB) from the server in ")


def test_a_tampered_file_is_refused_and_comes_from_the_server(site):
    def tampered(handler):
        if "model" not in handler.path:
            return False
        handler.send_file(WEIGHTS[:-1] + b"!")
        return True

    site.hub.trick = tampered
    assert site.get() == FILES
    assert site.asked("server") == [("model.safetensors", None)]
    assert "model.safetensors of 127.0.0.1" in site.warnings()[0]
    assert "does not have the hash that the job names" in site.warnings()[0]
    assert "1 file (0.0 MB) from the hub" in site.lines[-1][1]
    assert "1 file (0.5 MB) from the server" in site.lines[-1][1]


def test_more_bytes_than_the_file_has_are_not_kept(site):
    site.hub.trick = lambda handler: handler.send_file(FILES[handler.path.rsplit("/", 1)[-1]] + b"more") or True
    assert site.get() == FILES
    assert site.asked("server")[0] == ("config.json", None)
    assert "more bytes than the file has" in site.warnings()[0]


def test_the_server_goes_on_where_a_hub_that_went_away_stopped(site):
    def gone(handler):
        if "model" not in handler.path:
            return False
        if handler.headers.get("range"):
            handler.send_status(503)
        else:
            handler.send_file(WEIGHTS, cut=100_000)
        return True

    site.hub.trick = gone
    assert site.get() == FILES
    assert site.asked("server") == [("model.safetensors", "bytes=100000-")]


def test_a_slow_hub_is_given_up(site, monkeypatch):
    monkeypatch.setattr(hub_module, "SLOW_AFTER_S", -1.0)
    assert site.get() == FILES
    assert "sent 13 bytes in 0 s" in site.warnings()[0]


def test_a_hub_that_nobody_reaches(site):
    assert site.get(f"http://127.0.0.1:1/acme/small/resolve/{COMMIT}/") == FILES
    assert "127.0.0.1:1 did not send config.json" in site.warnings()[0]
    assert len(site.warnings()) == 1


def test_a_file_that_is_there_already_is_asked_for_nowhere(site):
    site.get()
    site.hub.seen.clear()
    assert site.get() == FILES
    assert site.hub.seen == site.server.seen == []


def test_the_check_of_a_source_agrees_with_the_schema_of_the_server():
    judged = 0
    source = {"url": f"https://huggingface.co/acme/small/resolve/{COMMIT}/"}
    other = [
        {"url": url}
        for url in (
            f"https://huggingface.co/acme/small/resolve/{COMMIT}",
            "https://huggingface.co/acme/small/resolve/main/",
            f"ftp://huggingface.co/acme/small/resolve/{COMMIT}/",
            f"https://name:word@hub/acme/small/resolve/{COMMIT}/",
            f"https://hub/acme/small/resolve/{COMMIT}/?token=x",
            f"x https://hub/acme/small/resolve/{COMMIT}/",
        )
    ]
    changed = [one for _, one in json_schema.mutations(SCHEMA, source)]
    for one in [source, *other, *changed]:
        if one is None:
            continue  # as absent: an older server
        try:
            fits = hub_of({"hub": one}) is not None
        except HubFailure:
            fits = False
        assert fits == json_schema.valid(SCHEMA, one), one
        judged += 1
    assert judged > 10
    assert hub_of({}) is None


def test_a_source_that_this_trainer_does_not_know_means_the_server(site):
    hub = {"url": "torrent:1", "peers": 3}
    folder = input_dir(site.home, "base", {"local_path": None, "files": ENTRIES, "hub": hub})
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(site.warnings()) == 1
    assert site.hub.seen == []


def test_with_a_mailbox_the_object_store_sends_what_the_hub_does_not(site, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for path, content in FILES.items():
        (folder / path).write_bytes(content)
    reply = {"inputs": {"base": {"server_path": str(folder)}}, "resume": None}
    server = HomeServer(tmp_path / "home.sock", tmp_path / "artifacts", reply, {}).start()
    box = MailboxServer(server)
    try:
        scratch = tmp_path / "scratch"
        site.home = Home(box.enter(scratch), TOKEN, scratch)
        site.home.log = lambda level, message: site.lines.append((level, message))
        site.hub.trick = lambda handler: "model" in handler.path and (handler.send_status(404) or True)
        assert site.get() == FILES
        assert site.warnings()[0].endswith("This file and the next ones come from the object store.")
        assert site.lines[-1][1].split(" in ")[0].endswith("1 file (0.5 MB) from the object store")
        assert box.asked.count("GET file") == 1
    finally:
        box.close()
        server.stop()
