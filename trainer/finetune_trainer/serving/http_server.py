"""HTTP on the endpoint's socket: routes, JSON bodies, answers streamed or whole, and each request's own errors."""

from __future__ import annotations

import json
import os
import select
import socket
import socketserver
import traceback
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from ..protocol.failures import ModelLoad
from .api.embeddings import parse_embeddings
from .api.errors import ApiError, invalid
from .api.request import parse_request
from .completion import Completion
from .engine import Engine, Unloaded

MAX_BODY = 8 * 1024 * 1024
IDLE_CONNECTION_S = 120


class EngineServer(socketserver.ThreadingUnixStreamServer):
    """One thread for each connection; the engine's own thread computes."""

    daemon_threads = True
    request_queue_size = 1024  # the system may have a lower limit
    engine: Engine
    max_new_tokens: int
    log: Callable[[str], None]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is not an error."""


def open_server(path: Path, engine: Engine, max_new_tokens: int, log: Callable[[str], None]) -> EngineServer:
    """A server on a new Unix socket that only this user may connect to; FTL_SOCKET_MODE (octal) overrides the mode."""
    path.unlink(missing_ok=True)
    # In a container the server outside is another user; the provider closed the directory around the socket.
    before = os.umask(0o777 & ~int(os.environ.get("FTL_SOCKET_MODE", "600"), 8))
    try:
        server = EngineServer(str(path), _Handler)
    finally:
        os.umask(before)
    server.engine, server.max_new_tokens, server.log = engine, max_new_tokens, log
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_CONNECTION_S
    server: EngineServer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """The gateway counts requests; here they would only fill the log."""

    def _route(self) -> None:
        self._started = False
        try:
            self._handle(urllib.parse.urlsplit(self.path).path)
        except ApiError as error:
            self._fail(error)
        except OSError:
            self.close_connection = True  # the client disconnected
        except Unloaded as error:
            self._fail(ApiError(404, f"The model {error} was unloaded.", "model", "model_not_found"))
        except Exception as error:
            # Whatever a request breaks is that request's own error: the connection answers, and the engine lives.
            self.server.log(f"a request failed: {''.join(traceback.format_exception(error))[-4000:]}")
            what = f"The engine could not answer this request ({type(error).__name__}). The log of its job says why."
            self._fail(ApiError(500, what, code="engine_error"))

    do_GET = do_POST = _route

    def _handle(self, path: str) -> None:
        engine, body = self.server.engine, self._read_json()
        if (self.command, path) == ("GET", "/health"):
            state = {"models": engine.models(), "active": engine.active, "waiting": engine.waiting}
            self._json(200, {"status": "ok", **state})
        elif (self.command, path) == ("GET", "/v1/models"):
            data = [{"id": m, "object": "model", "created": 0, "owned_by": "finetune-lab"} for m in engine.models()]
            self._json(200, {"object": "list", "data": data})
        elif self.command == "POST" and path in ("/v1/chat/completions", "/v1/completions"):
            self._complete(body, chat=path.startswith("/v1/chat"))
        elif (self.command, path) == ("POST", "/v1/embeddings"):
            request = parse_embeddings(body, engine)
            self._json(200, request.answer(engine.embed(request.model, request.inputs, self._check_client)))
        elif (self.command, path) == ("POST", "/v1/load_lora_adapter"):
            self._load_adapter(body)
        elif (self.command, path) == ("POST", "/v1/unload_lora_adapter"):
            (name,) = _texts(body, "lora_name")
            if not engine.unload_adapter(name):
                raise ApiError(404, f"No adapter {name[:200]!r} is loaded.", "lora_name", "model_not_found")
            self._text(f"Success: LoRA adapter '{name}' removed successfully.")
        else:
            raise ApiError(404, f"No such path: {self.command} {path[:200]}")

    def _fail(self, error: ApiError) -> None:
        """Answers with an error, or ends the stream with it."""
        try:
            if self._started:
                self._event(error.body())
                self.wfile.write(b"0\r\n\r\n")
            else:
                wait = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
                self._json(error.status, error.body(), wait)
        except OSError:
            self.close_connection = True

    def _read_json(self) -> Any:
        try:
            length = int(self.headers.get("content-length") or 0)
        except ValueError:
            length = -1
        if length < 0 or self.headers.get("transfer-encoding"):
            self.close_connection = True
            raise ApiError(400, "The request needs a content-length.")
        if length > MAX_BODY:
            self.close_connection = True
            raise ApiError(413, f"The request body is larger than {MAX_BODY} bytes.")
        raw = self.rfile.read(length)
        if not raw:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "The request body is not valid JSON.") from error

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        self._send(status, "application/json", body, headers)

    def _text(self, text: str) -> None:
        self._send(200, "text/plain; charset=utf-8", text.encode("utf-8", "replace"))

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def _load_adapter(self, body: Any) -> None:
        name, path = _texts(body, "lora_name", "lora_path")
        inplace = body.get("load_inplace", False)
        if not isinstance(inplace, bool):
            raise invalid("load_inplace", "load_inplace must be true or false.")
        if name in self.server.engine.models() and not inplace:
            raise invalid("lora_name", f"{name[:200]!r} is loaded already; load_inplace replaces it.")
        try:
            self.server.engine.load_adapter(name, Path(path))
        except ModelLoad as error:
            raise ApiError(400, str(error), "lora_path") from error
        self._text(f"Success: LoRA adapter '{name}' added successfully.")

    def _complete(self, body: Any, *, chat: bool) -> None:
        request = parse_request(body, self.server.engine, self.server.max_new_tokens, chat=chat)
        completion = Completion(self.server.engine, request, self._check_client)
        try:
            if not request.stream:
                self._json(200, completion.whole())
                return
            events = completion.events()
            first = next(events)  # the status line waits for it, so that an earlier failure can still be an HTTP error
            self._start_stream()
            self._event(first)
            for event in events:
                self._event(event)
            self._frame(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        finally:
            completion.withdraw()

    def _check_client(self) -> None:
        """Raises OSError when the client has disconnected."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError("the client disconnected")

    def _start_stream(self) -> None:
        self._started = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("cache-control", "no-cache")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _event(self, value: Any) -> None:
        self._frame(b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n")

    def _frame(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def _texts(body: Any, *names: str) -> list[str]:
    """The named fields of a body, each a non-empty string, or ApiError."""
    for name in names:
        value = body.get(name) if isinstance(body, dict) else None
        if not isinstance(value, str) or not value:
            raise invalid(name, f"{name} is needed.")
    return [body[name] for name in names]
