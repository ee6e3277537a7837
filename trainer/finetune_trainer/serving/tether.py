"""Runs a program that must not outlive whoever started it: `python -m finetune_trainer.serving.tether PROGRAM ARGUMENT…`.

Standard input is the tether: when it ends, because its other end was closed or its holder was killed, the program is asked to end
(SIGTERM) and after a while made to (SIGKILL), with every process it started. The exit code is the program's; 128 + N for signal N.
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
    """Starts the program in a session of its own, waits for its end or the tether's, and leaves nothing of it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the tether alone says when
    # No other thread runs yet, so work between fork and exec is safe.
    program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_follow_parent)
    threading.Thread(target=_wait_for_end, args=(program,), daemon=True).start()
    code = program.wait()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _follow_parent() -> None:
    """Should this process be killed, the kernel ends the program too (Linux); its ignored signals are as they were."""
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
