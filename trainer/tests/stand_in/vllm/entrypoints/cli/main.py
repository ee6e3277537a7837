"""Stands in for `vllm serve`: starts a process below itself, listens on --uds, answers /health; or fails as STAND_IN
says.
"""

import http.server
import json
import os
import signal
import socketserver
import subprocess
import sys
import time
from pathlib import Path

mode = os.environ.get("STAND_IN", "")
socket = sys.argv[sys.argv.index("--uds") + 1]
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
started = {"pids": [os.getpid(), below.pid], "argv": sys.argv[1:], "environment": dict(os.environ)}
Path(os.environ["STAND_IN_FILE"]).write_text(json.dumps(started))
print("INFO 01-01 00:00:00 Loading safetensors checkpoint shards: 50% Completed", flush=True)

if mode == "fails":
    print("(EngineCore pid=7) ERROR 01-01 00:00:01 ValueError: this GPU is too old for bfloat16", file=sys.stderr)
    for n in range(100):
        print(f"(EngineCore pid=7) INFO frame {n}", file=sys.stderr)
    print("RuntimeError: Engine core initialization failed. See root cause above.", file=sys.stderr)
    sys.exit(1)
if mode == "no memory":
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", file=sys.stderr)
    sys.exit(1)
if mode == "never ready":
    time.sleep(600)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def address_string(self) -> str:
        return "unix"


time.sleep(0.3)
with socketserver.ThreadingUnixStreamServer(socket, Handler) as server:
    server.serve_forever()
