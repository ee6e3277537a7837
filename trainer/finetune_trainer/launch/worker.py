"""One of several processes that train together: joins the others, runs the training, and leaves its report in scratch
for the leader.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from ..protocol.control import Commands
from ..protocol.home import Home
from ..spec.parse import parse_spec
from .imports import runner_of

# Messages of a rank that lost another one; the failure did not begin in such a rank.
PEER_MESSAGES = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "remote process exited",
    "nccl",
)


def notes_dir(scratch: Path) -> Path:
    """Where ranks and leader of an attempt leave notes for each other."""
    return scratch / "ranks"


def die_with_parent() -> None:
    """Has the system end this process when its parent exits for any reason, so that no process is left behind."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; only Linux has it


def watch_parent() -> None:
    """The same by polling once a second, for systems without that."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=look, name="parent", daemon=True).start()


def write_note(scratch: Path, name: str, value: Any) -> None:
    """Writes a note atomically."""
    target = notes_dir(scratch) / name
    temporary = target.with_name(f".{name}-{os.getpid()}")
    temporary.write_text(json.dumps(value), "utf-8")
    temporary.replace(target)


def run_rank(url: str, token: str, scratch: Path, reply: dict[str, Any]) -> int:
    """This rank's part of an attempt; returns the exit code of its report."""
    rank = int(os.environ["RANK"])

    def leave(code: int, message: str) -> None:
        write_note(scratch, f"{rank}.json", {"at": time.time(), "exit": code, "failure": None})
        print(message, file=sys.stderr, flush=True)
        os._exit(code)

    home = Home(url, token, scratch, leave) if rank == 0 else None
    commands = Commands(home) if home else None
    if home and commands:
        if threading.current_thread() is threading.main_thread():
            commands.install_signals()
        write_note(scratch, "listening", True)
        home.start(reply)
        home.phase("starting", f"attempt {reply.get('attempt')}, {reply.get('kind')}")
    try:
        code = _train(home, scratch, reply, commands)
        if home:
            home.close()
        write_note(scratch, f"{rank}.json", {"at": time.time(), "exit": code, "failure": None})
        return code
    except Exception as error:
        from ..protocol.failures import describe

        traceback.print_exc()
        failure = {**describe(error), "detail": traceback.format_exc()[-4000:]}
        peer = any(word in str(error).lower() for word in PEER_MESSAGES)
        write_note(scratch, f"{rank}.json", {"at": time.time(), "exit": 1, "failure": failure, "peer": peer})
        return 1


def _train(home: Home | None, scratch: Path, reply: dict[str, Any], commands: Commands | None) -> int:
    spec = parse_spec(reply["kind"], reply["spec"])
    from ..distributed.group import SilentHome, join

    # Late: it takes seconds, and signals are handled meanwhile.
    runner = runner_of(spec)
    group = join(spec.parallel.strategy)
    outcome = runner.run(home or SilentHome(scratch), reply, spec, commands, group)
    if home:
        home.emit("finished", outcome=outcome)
    return 0 if outcome == "succeeded" else 4


def main() -> int:
    """Runs a rank from the environment of the launcher, which gets 0 for every regular end."""
    die_with_parent()
    watch_parent()
    scratch = Path(os.environ["FTL_SCRATCH"])
    write_note(scratch, f"{os.environ['RANK']}.pid", os.getpid())
    reply = json.loads((notes_dir(scratch) / "reply.json").read_text("utf-8"))
    code = run_rank(os.environ["FTL_HOME_URL"], os.environ["FTL_ATTEMPT_TOKEN"], scratch, reply)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if code in (0, 4) else 1)  # skips teardowns that wait for ranks that have exited


if __name__ == "__main__":
    main()
