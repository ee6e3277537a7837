"""The trainer as the main program of a rented container: it ends itself at its deadline and does not exit before.

RunPod restarts a container whose program exits, and charges for it all the same. So the attempt runs as a child, and
this program waits until the server ends the pod. At FTL_DEADLINE it ends the pod itself, with the pod's own key.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

GRACE_S = 30
AGAIN_S = 60


def main() -> int:
    """Runs the attempt and waits for the end of the machine; returns only where nobody restarts the container."""
    deadline = float(os.environ["FTL_DEADLINE"])
    argv = json.loads(os.environ.get("FTL_ARGV", "null")) or [sys.executable, "-m", "finetune_trainer"]
    child = subprocess.Popen(argv, env={**os.environ, "FTL_RENTED": "child"})
    signal.signal(signal.SIGTERM, lambda number, _frame: child.send_signal(number))
    code = _wait(child, deadline)
    code = code if code >= 0 else 128 - code
    print(f"the attempt exited with code {code}", flush=True)
    if "RUNPOD_POD_ID" not in os.environ:
        return code
    while time.time() < deadline:
        time.sleep(min(AGAIN_S, max(0.05, deadline - time.time())))
    while not _end_pod():
        time.sleep(AGAIN_S)
    return code


def _wait(child: subprocess.Popen[bytes], deadline: float) -> int:
    """The exit code of the attempt, which is asked and then forced to end at the deadline (seconds since 1970)."""
    try:
        return child.wait(max(0.0, deadline - time.time()))
    except subprocess.TimeoutExpired:
        child.terminate()
    try:
        return child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
    return child.wait()


def _end_pod() -> bool:
    """Asks RunPod to delete this pod, with the pod's own key; true when it said yes."""
    address = os.environ.get("FTL_VENDOR_API", "https://api.runpod.io")
    request = urllib.request.Request(
        f"{address}/v2/pods/{os.environ['RUNPOD_POD_ID']}",
        method="DELETE",
        headers={"Authorization": f"Bearer {os.environ.get('RUNPOD_API_KEY', '')}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return 200 <= answer.status < 300
    except OSError as error:
        print(f"the pod could not end itself: {error}", flush=True)
        return False
