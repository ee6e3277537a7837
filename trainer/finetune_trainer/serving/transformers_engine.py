"""The engine with transformers and PEFT: an OpenAI-compatible server over one loaded base and its adapters."""

from __future__ import annotations

import json
import os
import queue
import select
import socket
import socketserver
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from ..model.load import load_model, load_tokenizer, prepare_torch
from ..protocol.failures import ModelLoad
from ..protocol.home import Home
from ..spec.models import ServeSpec, served_name
from .detokenize import TextStream
from .engine import Busy, Engine, Generation
from .openai_api import ApiError, CompletionRequest, CompletionResponse, parse_request

MAX_BODY = 8 * 1024 * 1024
POLL_EVERY_S = 0.1
IDLE_CONNECTION_S = 120


class TransformersEngine:
    """The model in this process, and a thread that takes requests on the socket."""

    def __init__(self, home: Home, spec: ServeSpec, base: Path, adapters: dict[str, Path], path: Path) -> None:
        self._arguments = (spec, base, adapters, path)
        self._server: _Server | None = None

    def start(self, stop: Callable[[], bool]) -> bool:
        """Loads and listens; returns True, since what stops it is checked afterwards."""
        spec, base, adapters, path = self._arguments
        engine = Engine(load_model(base, spec.precision, prepare_torch()), load_tokenizer(base), served_name(spec))
        for name, directory in adapters.items():
            engine.load_adapter(name, directory)
        self._server = open_server(path, engine, spec.max_new_tokens)
        serve = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        serve.start()
        return True

    def check(self) -> None:
        """Nothing to check: the model is in this process."""

    def stop(self) -> None:
        """Takes no more requests."""
        if self._server is not None:
            self._server.shutdown()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    engine: Engine
    max_new_tokens: int

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that disconnects is not an error."""


def open_server(path: Path, engine: Engine, max_new_tokens: int) -> _Server:
    """A server on a new Unix socket that only this user may connect to; FTL_SOCKET_MODE (octal) overrides the mode."""
    path.unlink(missing_ok=True)
    # In a container the server outside is another user; the provider closed the directory around the socket.
    before = os.umask(0o777 & ~int(os.environ.get("FTL_SOCKET_MODE", "600"), 8))
    try:
        server = _Server(str(path), _Handler)
    finally:
        os.umask(before)
    server.engine, server.max_new_tokens = engine, max_new_tokens
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_CONNECTION_S
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """The gateway counts requests; here they would only fill the log."""

    def _route(self) -> None:
        engine, path = self.server.engine, urllib.parse.urlsplit(self.path).path
        try:
            body = self._read_json()
            if (self.command, path) == ("GET", "/health"):
                self._json(
                    200, {"status": "ok", "models": engine.models(), "active": engine.active, "waiting": engine.waiting}
                )
            elif (self.command, path) == ("GET", "/v1/models"):
                data = [{"id": m, "object": "model", "created": 0, "owned_by": "finetune-lab"} for m in engine.models()]
                self._json(200, {"object": "list", "data": data})
            elif self.command == "POST" and path in ("/v1/chat/completions", "/v1/completions"):
                self._complete(
                    parse_request(body, engine, self.server.max_new_tokens, chat=path.startswith("/v1/chat"))
                )
            elif (self.command, path) == ("POST", "/v1/load_lora_adapter"):
                self._load_adapter(body)
            elif (self.command, path) == ("POST", "/v1/unload_lora_adapter"):
                (name,) = _texts(body, "lora_name")
                if not engine.unload_adapter(name):
                    raise ApiError(404, f"no adapter {name!r} is loaded", "lora_name", "model_not_found")
                self._text(f"Success: LoRA adapter '{name}' removed successfully.")
            else:
                raise ApiError(404, f"no such path: {self.command} {path}")
        except ApiError as error:
            self._json(error.status, error.body(), {"retry-after": "1"} if error.status == 429 else {})

    do_GET = do_POST = _route

    def _read_json(self) -> Any:
        try:
            length = int(self.headers.get("content-length") or 0)
        except ValueError:
            length = -1
        if length < 0 or self.headers.get("transfer-encoding"):
            self.close_connection = True
            raise ApiError(400, "a content-length is needed")
        if length > MAX_BODY:
            self.close_connection = True
            raise ApiError(413, f"the body is larger than {MAX_BODY} bytes")
        raw = self.rfile.read(length)
        if not raw:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "the body is not valid JSON") from error

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
            raise ApiError(400, "load_inplace must be true or false", "load_inplace")
        if name in self.server.engine.models() and not inplace:
            raise ApiError(400, f"{name!r} is loaded already; load_inplace replaces it", "lora_name")
        try:
            self.server.engine.load_adapter(name, Path(path))
        except ModelLoad as error:
            raise ApiError(400, str(error), "lora_path") from error
        self._text(f"Success: LoRA adapter '{name}' added successfully.")

    def _complete(self, order: CompletionRequest) -> None:
        engine = self.server.engine
        generation = Generation(
            order.model, order.prompt, order.max_new_tokens, order.temperature, order.top_p, order.seed
        )
        try:
            engine.submit(generation)
        except Busy as error:
            raise ApiError(429, f"the endpoint is busy: {error}", code="rate_limit_exceeded") from error
        try:
            self._stream(order, generation) if order.stream else self._whole(order, generation)
        except OSError:
            self.close_connection = True  # the client disconnected
        finally:
            engine.withdraw(generation)

    def _tokens(self, generation: Generation) -> Any:
        """Tokens as they come. Checks for a client that has disconnected, and raises OSError then."""
        while True:
            try:
                item = generation.out.get(timeout=POLL_EVERY_S)
            except queue.Empty:
                self._check_client()
                continue
            if item is None:
                return
            if isinstance(item, KeyError):
                raise ApiError(404, f"the model {item.args[0]!r} was unloaded", "model", "model_not_found")
            if isinstance(item, BaseException):
                raise ApiError(500, f"generation failed: {item}")
            yield item

    def _check_client(self) -> None:
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError("the client disconnected")

    def _pieces(self, order: CompletionRequest, generation: Generation) -> Any:
        """Yields pieces of text; returns (finish reason, tokens generated)."""
        text = TextStream(self.server.engine.tokenizer, order.stop)
        count = 0
        finish = "length"
        for token in self._tokens(generation):
            count += 1
            if token in self.server.engine.ends:
                finish = "stop"
                break
            if piece := text.feed(token):
                yield piece
            if text.stopped:
                break
        if piece := text.finish():
            yield piece
        return "stop" if text.stopped else finish, count

    def _whole(self, order: CompletionRequest, generation: Generation) -> None:
        pieces, text = self._pieces(order, generation), ""
        while True:
            try:
                text += next(pieces)
            except StopIteration as end:
                finish, count = end.value
                break
            self._check_client()
        self._json(200, CompletionResponse(order).whole(text, finish, count))

    def _stream(self, order: CompletionRequest, generation: Generation) -> None:
        answer, pieces = CompletionResponse(order), self._pieces(order, generation)
        # The status line waits for the first piece, so that an earlier failure can still be an HTTP error.
        first, end = self._next(pieces)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("cache-control", "no-cache")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if order.chat:
            self._event(answer.chunk("", first=True))
        piece = first
        try:
            while end is None:
                self._event(answer.chunk(piece))
                self._check_client()
                piece, end = self._next(pieces)
            self._event(answer.chunk(None, end[0]))
            if order.include_usage:
                self._event(answer.last(end[1]))
            self._frame(b"data: [DONE]\n\n")
        except ApiError as error:
            self._event(error.body())
        self.wfile.write(b"0\r\n\r\n")

    def _next(self, pieces: Any) -> tuple[str | None, tuple[str, int] | None]:
        try:
            return next(pieces), None
        except StopIteration as stop:
            return None, stop.value

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
            raise ApiError(400, f"{name} is needed", name)
    return [body[name] for name in names]
