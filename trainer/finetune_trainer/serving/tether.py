"""Runs a program that must not outlive its parent: `python -m finetune_trainer.serving.tether PROGRAM ARGUMENT…`.

Standard input is the tether: when it ends, because its other end was closed or its owner was killed, the program gets
SIGTERM and some seconds later SIGKILL, with every process it started. The exit code is the program's; 128 + N for
signal N.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_S = float(os.environ.get("TETHER_GRACE_S", "8"))  # less than providers wait before they kill
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Starts the program in its own session, waits for its end or the tether's, and leaves no process behind."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # only the tether decides
    # No other thread runs yet, so work between fork and exec is safe.
    program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_follow_parent)
    threading.Thread(target=_wait_for_end, args=(program,), daemon=True).start()
    code = program.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _follow_parent() -> None:
    """If this process is killed, the kernel ends the program too (Linux). Signals that are ignored
    here are restored.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_end(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    with suppress(ProcessLookupError):
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
