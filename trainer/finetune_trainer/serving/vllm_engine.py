"""The engine with vLLM: `vllm serve` as a child process, on the same socket and with the same API
as the other engine.
"""

from __future__ import annotations

import collections
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..protocol.connection import UnixConnection
from ..protocol.failures import TrainingFailed
from ..protocol.home import Home
from ..spec.models import ServeSpec
from .vllm_command import command, environment

START_LIMIT_S = 3600  # weights of hundreds of gigabytes from a slow disk
REPORT_EVERY_S = 2.0
STOP_LIMIT_S = 15.0
NO_MEMORY = re.compile(
    r"out of memory|No available memory|Free memory on device|available KV cache memory", re.IGNORECASE
)
CAUSE = re.compile(r"\b\w*(Error|Exception): (?!Engine core initialization failed)\S")


class VllmEngine:
    """vLLM as a child process: its output becomes log lines, and its last lines the message when it fails."""

    def __init__(self, home: Home, spec: ServeSpec, base: Path, adapters: dict[str, Path], path: Path) -> None:
        self._home, self._path = home, path
        self._argv = command(spec, base, adapters, path)
        self._last_lines: collections.deque[str] = collections.deque(maxlen=12)
        self._causes: collections.deque[str] = collections.deque(
            maxlen=3
        )  # often hundreds of lines before the last one
        self._child: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, name="vllm", daemon=True)
        self._answered = False
        # Its processes use their own sockets, whose names are long: the directory's must be short.
        self._sockets = Path(tempfile.mkdtemp(prefix="ftl-", dir="/tmp"))

    def start(self, stop: Callable[[], bool]) -> bool:
        """Starts it and waits for `GET /health`; its output is reported as progress meanwhile."""
        scratch, path = self._home.scratch, self._path
        path.unlink(missing_ok=True)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("FTL_")}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "finetune_trainer.serving.tether", *self._argv],
            env={**ours, **environment(scratch, self._sockets)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a signal to our group must not end it before we report why
            umask=0o077,
        )
        self._reader.start()
        began, said_at, said = time.monotonic(), 0.0, ""
        while not self._healthy():
            if stop():
                return False
            self.check()
            now, last = time.monotonic(), self._last_lines[-1] if self._last_lines else ""
            if now - began > START_LIMIT_S:
                raise self._failure(f"vLLM did not answer within {START_LIMIT_S // 60} minutes")
            if last != said and now - said_at > REPORT_EVERY_S:
                self._home.phase("loading_model", last[:200])
                said_at, said = now, last
            time.sleep(0.2)
        # In a container the server outside is another user; the provider closed the directory around the socket.
        path.chmod(int(os.environ.get("FTL_SOCKET_MODE", "600"), 8))
        self._answered = True
        return True

    def check(self) -> None:
        """Raises TrainingFailed with vLLM's last lines when it has exited."""
        code = self._child.poll() if self._child else None
        if code is not None:
            self._reader.join(5)  # its last lines may not be read yet
            how = f"was ended by signal {code - 128}" if code > 128 else f"ended with exit code {code}"
            raise self._failure(f"vLLM {how}")

    def stop(self) -> None:
        """Closes the tether, which ends vLLM and its processes."""
        child = self._child
        if child is not None and child.stdin is not None:
            child.stdin.close()
            try:
                child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        # A server that runs as another user could not remove the compiled files, which are large.
        for left in (self._home.scratch / "cache", self._sockets):
            shutil.rmtree(left, ignore_errors=True)

    def _failure(self, what: str) -> TrainingFailed:
        last = "\n".join([*(line for line in self._causes if line not in self._last_lines), *self._last_lines])
        if NO_MEMORY.search("\n".join(self._causes)):
            advice = "Give the endpoint a larger GPU or more of them, or serve a smaller model or a shorter context."
            return TrainingFailed("out_of_memory", f"{what}: {last}", advice)
        advice = "The lines above say why; vLLM's documentation lists the models and GPUs it can serve."
        return TrainingFailed("internal" if self._answered else "model_load", f"{what}: {last}", advice)

    def _healthy(self) -> bool:
        connection = UnixConnection(str(self._path), timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _read(self) -> None:
        stream: Any = self._child and self._child.stdout
        for raw in stream:
            if line := raw.decode("utf-8", "replace").strip():
                self._last_lines.append(line)
                if CAUSE.search(line):
                    self._causes.append(line)
                self._home.log("error" if " ERROR " in f" {line}" else "warn" if "WARNING " in line else "info", line)
