"""The engine with transformers and PEFT: an OpenAI-compatible server over one loaded base and its adapters."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ..model.load import load_model, prepare_torch
from ..model.tokenizer import load_tokenizer
from ..protocol.home import Home
from ..spec.models import ServeSpec, served_name
from .engine import Engine
from .http_server import EngineServer, open_server

STOP_LIMIT_S = 2.0  # a step takes less, a piece of a prompt for a large model perhaps not


class TransformersEngine:
    """The model in this process, and a thread that takes requests on the socket."""

    def __init__(self, home: Home, spec: ServeSpec, base: Path, adapters: dict[str, Path], path: Path) -> None:
        self._home, self._arguments = home, (spec, base, adapters, path)
        self._server: EngineServer | None = None
        self._engine: Engine | None = None

    def start(self, stop: Callable[[], bool]) -> bool:
        """Loads and listens; returns True, since what stops it is checked afterwards."""
        spec, base, adapters, path = self._arguments
        engine = Engine(
            load_model(base, spec.precision, prepare_torch()), load_tokenizer(base), served_name(spec), spec.max_waiting
        )
        self._engine = engine
        for name, directory in adapters.items():
            engine.load_adapter(name, directory)
        self._server = open_server(path, engine, spec.max_new_tokens, lambda text: self._home.log("error", text))
        serve = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        serve.start()
        return True

    def check(self) -> None:
        """Raises what ended the engine's thread: nothing would be answered any more."""
        if self._engine is not None and self._engine.failure is not None:
            raise self._engine.failure

    def stop(self) -> None:
        """Takes no more requests, and ends those that run."""
        if self._server is not None:
            self._server.shutdown()
        if self._engine is not None:
            self._engine.stop(STOP_LIMIT_S)
