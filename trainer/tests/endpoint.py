"""A serving attempt in this process, and calls to it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

from conftest import Here

QUESTION = [{"role": "user", "content": "number 1"}]
PROMPT = "<|im_start|>user\nnumber 1<|im_end|>\n<|im_start|>assistant\n"


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Endpoint:
    """A serving attempt in a thread of this process, and calls to it."""

    def __init__(self, root: Path, reply: dict):
        self.here = Here(root, reply, {})
        self.thread = self.here.start()
        while not self.here.server.of("ready"):
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.ready = self.here.server.of("ready")[0]
        self.path = self.ready["address"].removeprefix("unix:")

    def call(self, method: str, path: str, body=None, raw: bytes | None = None) -> tuple[int, Any]:
        connection = Connection(self.path)
        sent = raw if raw is not None else json.dumps(body) if body is not None else None
        connection.request(method, path, sent, {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if response.getheader("content-type") == "application/json" else text

    def models(self) -> list[str]:
        return [one["id"] for one in self.call("GET", "/v1/models")[1]["data"]]

    def load(self, name: str, path: Path, **more) -> int:
        return self.call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path), **more})[0]

    def unload(self, name: str) -> int:
        return self.call("POST", "/v1/unload_lora_adapter", {"lora_name": name})[0]

    def end(self, command: str = "cancel") -> dict:
        """Sends a command, waits for the exit and returns the last event."""
        self.here.server.command(command)
        self.thread.join(30)
        assert self.here.code == 4 and not Path(self.path).exists()
        return self.here.server.events[-1]

    def chat(self, **body) -> dict:
        status, value = self.call(
            "POST", "/v1/chat/completions", {"model": "tiny", "messages": QUESTION, "temperature": 0, **body}
        )
        assert status == 200, value
        return value

    def stream(self, path: str = "/v1/chat/completions", **body) -> list:
        connection = Connection(self.path)
        asked = {"messages": QUESTION} if "chat" in path else {}
        connection.request(
            "POST",
            path,
            json.dumps({"model": "tiny", **asked, "temperature": 0, "stream": True, **body}),
            {"content-type": "application/json"},
        )
        response = connection.getresponse()
        assert response.status == 200 and response.getheader("content-type").startswith("text/event-stream")
        lines = [x for x in response.read().decode().split("\n\n") if x]
        assert all(x.startswith("data: ") for x in lines) and lines[-1] == "data: [DONE]"
        return [json.loads(x[6:]) for x in lines[:-1]]
