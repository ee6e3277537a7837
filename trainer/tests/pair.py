"""Two ranks for tests without a launcher: forked from a process that has imported everything, as `accelerate launch`
would start them.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from pathlib import Path

from home_server import TOKEN, HomeServer

forks = multiprocessing.get_context("forkserver")


def preload() -> None:
    """Lets the fork server import torch and TRL once for all ranks."""
    methods = [f"finetune_trainer.training.methods.{name}" for name in ("sft", "dpo", "orpo", "kto", "reward")]
    forks.set_forkserver_preload(["finetune_trainer.launch.worker", "finetune_trainer.training.train", *methods])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def rank_main(rank: int, size: int, port: int, url: str, scratch: str, reply: dict, log: str) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1",
    )  # fmt: skip
    with Path(log).open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    from finetune_trainer.launch.worker import run_rank

    code = run_rank(url, TOKEN, Path(scratch), reply)
    sys.stderr.flush()
    os._exit(code)


class Pair:
    """An attempt whose ranks are processes of the test. `run` returns rank 0's exit code."""

    def __init__(self, root: Path, reply: dict, data: dict):
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.scratch, self.reply = root, root / "scratch", reply
        (self.scratch / "ranks").mkdir(parents=True)
        self.server = HomeServer(root / "home.sock", root / "artifacts", reply, data).start()
        self.processes: list = []

    def start(self):
        port = free_port()
        size = self.reply["spec"]["parallel"]["processes"]
        url = f"unix:{self.server.path}"
        for rank in range(size):
            given = (rank, size, port, url, str(self.scratch), self.reply, str(self.root / "log"))
            self.processes.append(forks.Process(target=rank_main, args=given, daemon=True))
            self.processes[-1].start()
        return self

    def wait(self, timeout: float = 90) -> int:
        for process in self.processes:
            process.join(timeout)
            assert process.exitcode is not None, "a rank hangs:\n" + self.log()
        return self.processes[0].exitcode

    def run(self) -> int:
        return self.start().wait()

    def log(self) -> str:
        return (self.root / "log").read_text()[-6000:]

    def close(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()
        self.server.stop()
