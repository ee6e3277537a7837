"""A small real server of trainer protocol v1 on a Unix socket: numbers, tokens, offsets and hashes are enforced as
documented.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socketserver
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler
from pathlib import Path

TOKEN = "attempt-token"


def share_of_e(_: dict, output: str) -> float:
    """A reward that is easily raised: the share of the letter e."""
    return output.count("e") / max(1, len(output))


class HomeServer:
    """State of one attempt. `start` and `stop` may be called again: what was committed stays."""

    def __init__(self, socket_path: Path, root: Path, reply: dict, data: dict[str, list[dict]]):
        self.path, self.root, self.reply, self.data = socket_path, root, reply, data
        self.events: list[dict] = []
        self.repeats = 0
        self.gaps = 0
        self.batches = 0
        self.final = False
        self.commands: dict[str, str] = {}
        self.artifacts: dict[str, dict] = {}
        self.status: int | None = None  # respond to everything with this status
        self.lose_answers = 0  # commit, then break the connection, this many times
        self.grader = share_of_e  # (item, output) -> reward; what it raises is the grade's error
        self.not_graded: list[int] = []  # statuses that the next requests for grades are answered with instead
        self.lock = threading.Lock()
        self._server = None

    def start(self) -> HomeServer:
        self.path.unlink(missing_ok=True)
        home = self

        class Handler(_Handler):
            server_state = home

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self._server = Server(str(self.path), Handler)
        self._connections: list = []
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.path.unlink(missing_ok=True)
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(2)
            self._server = None

    def of(self, kind: str) -> list[dict]:
        with self.lock:
            return [e for e in self.events if e["type"] == kind]

    def command(self, kind: str, name: str | None = None) -> str:
        name = name or f"c{len(self.commands) + 1}"
        with self.lock:
            self.commands[name] = kind
        return name

    def complete(self, kind: str) -> list[dict]:
        with self.lock:
            return [a for a in self.artifacts.values() if a["kind"] == kind and a["complete"]]

    def take_events(self, body: dict) -> dict:
        for event in body["events"]:
            last = self.events[-1]["seq"] if self.events else 0
            if event["seq"] <= last:
                self.repeats += 1
                continue
            if event["seq"] > last + 1:
                self.gaps += 1
                break
            assert isinstance(event["at"], int)
            self.events.append(event)
            if event["type"] == "command_done":
                self.commands.pop(event["id"], None)
        self.batches += 1
        self.final = self.final or bool(body.get("final"))
        last = self.events[-1]["seq"] if self.events else 0
        return {"last_seq": last, "commands": [{"id": i, "type": t} for i, t in self.commands.items()]}

    def grade(self, sample: dict) -> dict:
        try:
            return {"reward": self.grader(sample["item"], sample["output"]), "error": None}
        except ValueError as error:
            return {"reward": 0, "error": str(error)}

    def open_artifact(self, body: dict) -> dict:
        key = json.dumps([body["kind"], body["step"], [f["sha256"] for f in body["files"]]])
        identity = hashlib.sha256(key.encode()).hexdigest()[:16]
        if identity not in self.artifacts:
            folder = self.root / identity
            folder.mkdir(parents=True)
            self.artifacts[identity] = {**body, "id": identity, "folder": folder, "complete": False}
        artifact = self.artifacts[identity]
        for file in body["files"]:
            assert re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", file["path"])
            (artifact["folder"] / file["path"]).touch()
        sizes = [{"path": f["path"], "offset": (artifact["folder"] / f["path"]).stat().st_size} for f in body["files"]]
        return {"artifact_id": identity, "complete": artifact["complete"], "files": sizes}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: HomeServer

    def setup(self):
        super().setup()
        self.server_state._connections.append(self.connection)

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass

    def answer(self, status: int, value) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status: int, code: str, **extra) -> None:
        self.answer(status, {"error": {"code": code, "message": code}, **extra})

    def read_body(self) -> bytes:
        length = int(self.headers.get("content-length") or 0)
        assert length <= 8 * 1024 * 1024
        return self.rfile.read(length)

    def handle_request(self) -> None:
        state = self.server_state
        body = self.read_body()
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(p) for p in url.path.split("/")[3:]]
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self.fail(401, "unknown_token")
        if state.status:
            return self.fail(state.status, "told_so")
        with state.lock:
            if parts == ["spec"]:
                last = state.events[-1]["seq"] if state.events else 0
                return self.answer(200, {**state.reply, "last_seq": last})
            if parts == ["events"]:
                reply = state.take_events(json.loads(body))
                if state.lose_answers > 0:
                    state.lose_answers -= 1
                    self.close_connection = True
                    return None
                return self.answer(200, reply)
            if parts == ["grade"] and state.not_graded:
                return self.fail(state.not_graded.pop(0), "sandbox_unavailable")
            if parts == ["grade"]:
                return self.answer(200, {"grades": [state.grade(one) for one in json.loads(body)["samples"]]})
            if parts[0] == "data" and parts[2:] == ["digest"] and parts[1] in state.data:
                content = b"".join(json.dumps(row).encode() + b"\n" for row in state.data[parts[1]])
                return self.answer(200, {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
            if parts[0] == "data":
                return self.data(parts[1])
            if parts[0] == "inputs":
                return self.input_file(parts[1], "/".join(parts[2:]))
            if parts == ["artifacts"]:
                return self.answer(200, state.open_artifact(json.loads(body)))
            if parts[0] == "artifacts" and parts[-1] == "complete":
                return self.complete(state.artifacts[parts[1]])
            if parts[0] == "artifacts":
                offset = int(urllib.parse.parse_qs(url.query)["offset"][0])
                return self.part(state.artifacts[parts[1]], "/".join(parts[2:]), offset, body)
        return self.fail(404, "not_found")

    do_GET = do_POST = do_PUT = handle_request

    def data(self, split: str) -> None:
        rows = self.server_state.data.get(split)
        if rows is None:
            return self.fail(404, "not_found")
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for row in rows:
            line = json.dumps(row).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")
        return None

    def input_file(self, name: str, path: str) -> None:
        folder = self.server_state.reply["inputs"].get(name) or self.server_state.reply["resume"]
        content = Path(folder["server_path"], path).read_bytes()
        start = int((self.headers.get("range") or "bytes=0-").split("=")[1].rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("content-length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def part(self, artifact: dict, path: str, offset: int, body: bytes) -> None:
        file = artifact["folder"] / path
        if offset != file.stat().st_size:
            return self.fail(409, "wrong_offset", offset=file.stat().st_size)
        with file.open("ab") as stream:
            stream.write(body)
        return self.answer(200, {"offset": file.stat().st_size})

    def complete(self, artifact: dict) -> None:
        for file in artifact["files"]:
            content = (artifact["folder"] / file["path"]).read_bytes()
            if len(content) != file["size"] or hashlib.sha256(content).hexdigest() != file["sha256"]:
                return self.fail(422, "wrong_hash")
        artifact["complete"] = True
        checkpoint = f"ckpt-{artifact['step']}" if artifact["kind"] == "checkpoint" else None
        return self.answer(200, {"artifact_id": artifact["id"], "checkpoint_id": checkpoint, "model": None})
