"""Runs an endpoint: chooses the engine, gives it a socket, and keeps it until a command or a signal ends it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ..model.artifacts import check_adapter
from ..protocol.control import Commands
from ..protocol.failures import BadSpec
from ..protocol.home import Home
from ..protocol.inputs import input_dir
from ..spec.models import ServeSpec, served_name

POLL_EVERY_S = 0.1
# Seconds from a signal to the end of the process. An endpoint has nothing to save, and its last events are worth no
# more than that when the server is away. vLLM is a tree of processes, which takes longer to end.
END_WITHIN_S = {"transformers": 4.0, "vllm": 20.0}
EXIT_STOPPED = 4
SOCKET_PATH_LIMIT = 100  # the system takes 107 bytes
ENGINES = ("transformers", "vllm")


class ServingEngine(Protocol):
    """Answers requests on the socket: in this process, or in a child process."""

    def start(self, stop: Callable[[], bool]) -> bool:
        """Waits until it answers; False when `stop` returned True first. Raises the reason when it cannot start."""

    def check(self) -> None:
        """Raises when it has exited."""

    def stop(self) -> None:
        """Ends it, at any point."""


def run(home: Home, reply: dict[str, Any], spec: ServeSpec, commands: Commands) -> str:
    """Starts an engine with base and adapters, announces its address, and returns the outcome when it stops."""
    name = choose_engine()
    source = spec.whole.input if spec.whole else "base"
    base, name_of = input_dir(home, source, reply["inputs"][source]), served_name(spec)
    adapters = {one.name: input_dir(home, one.input, reply["inputs"][one.input]) for one in spec.adapters}
    for adapter, directory in adapters.items():
        check_adapter(adapter, directory)
    home.phase("loading_model", f"engine: {name}")
    path = socket_path(home.scratch)
    engine = make_engine(name, home, spec, base, adapters, path)
    commands.on_signal = lambda: _end_within(END_WITHIN_S[name])
    try:
        if engine.start(commands.poll):
            home.phase("serving")
            home.emit("ready", address=f"unix:{path}", models=[name_of, *adapters])
        while not commands.poll():
            engine.check()
            _answer(home, commands)
            if spec.idle_after_s and home.out_of_reach() > spec.idle_after_s:
                # Requests come through the server, and it alone ends idle endpoints.
                print(
                    "the server is out of reach for longer than an idle endpoint is kept", file=sys.stderr, flush=True
                )
                _end_within(END_WITHIN_S[name])
                break
            time.sleep(POLL_EVERY_S)
    finally:
        path.unlink(missing_ok=True)
        engine.stop()
    _answer(home, commands)
    return commands.stop or "cancelled"


def _answer(home: Home, commands: Commands) -> None:
    for command in commands.take_pending():
        home.command_done(command)  # there is nothing to checkpoint


def _end_within(seconds: float) -> None:
    """Ends the process after that time, whatever it waits for then."""
    timer = threading.Timer(seconds, os._exit, (EXIT_STOPPED,))
    timer.daemon = True
    timer.start()


def choose_engine() -> str:
    """vLLM where it is installed and there is a GPU, else transformers; FTL_ENGINE overrides."""
    named = os.environ.get("FTL_ENGINE")
    if named:
        if named not in ENGINES:
            raise BadSpec(f"FTL_ENGINE={named!r} is not one of {', '.join(ENGINES)}")
        return named
    return "vllm" if importlib.util.find_spec("vllm") and gpu_count() > 0 else "transformers"


def gpu_count() -> int:
    """GPUs that the NVIDIA driver shows this process. The driver itself is asked: importing torch takes seconds and
    memory.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def make_engine(
    name: str, home: Home, spec: ServeSpec, base: Path, adapters: dict[str, Path], path: Path
) -> ServingEngine:
    """The engine of that name, not started. Imported late: neither image needs the packages of the other."""
    if name == "vllm":
        from .vllm_engine import VllmEngine

        return VllmEngine(home, spec, base, adapters, path)
    from .transformers_engine import TransformersEngine

    return TransformersEngine(home, spec, base, adapters, path)


def socket_path(scratch: Path) -> Path:
    """The socket's path: in scratch, or in a private directory when that path is too long for a socket."""
    path = scratch / "serve.sock"
    return path if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT else Path(tempfile.mkdtemp(prefix="ftl-")) / "serve.sock"
