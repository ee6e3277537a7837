"""The main program of a rented container: deadline, no early exit, and the end of the pod by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def vendor():
    """A vendor's API that accepts deletions and notes all requests."""
    seen: list[tuple[str, str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            seen.append((self.command, self.path, self.headers["Authorization"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()


def run(source: str, deadline: float, env: dict[str, str]) -> tuple[int, float, str]:
    """Exit code, seconds, and output of the program with `source` as the attempt."""
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "FTL_DEADLINE": str(time.time() + deadline),
        "FTL_ARGV": json.dumps([sys.executable, "-c", source]),
        **env,
    }
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "finetune_trainer"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, time.monotonic() - begin, done.stdout


def test_elsewhere_it_exits_with_the_attempt():
    code, seconds, _ = run("import sys; sys.exit(3)", 60, {})
    assert code == 3
    assert seconds < 30


def test_on_runpod_it_stays_until_the_deadline_and_ends_the_pod(vendor):
    url, seen = vendor
    pod = {"RUNPOD_POD_ID": "pod1", "RUNPOD_API_KEY": "pod-key", "FTL_VENDOR_API": url}
    code, seconds, output = run("print('done', flush=True)", 4, pod)
    assert code == 0
    assert seconds >= 3.9
    assert "done" in output
    assert seen == [("DELETE", "/v2/pods/pod1", "Bearer pod-key")]


def test_at_the_deadline_an_attempt_that_runs_is_ended(vendor):
    url, seen = vendor
    pod = {"RUNPOD_POD_ID": "pod1", "RUNPOD_API_KEY": "pod-key", "FTL_VENDOR_API": url}
    code, seconds, _ = run("import time; time.sleep(600)", 2, pod)
    assert code == 143
    assert seconds < 30
    assert len(seen) == 1
