"""Leads an attempt of several processes: starts `accelerate launch`, watches the ranks, and reports how it ended when
they cannot.
"""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..protocol.failures import TrainingFailed
from ..protocol.home import Home
from ..spec.models import TrainSpec
from .worker import die_with_parent, notes_dir, write_note

# How long the other ranks may take to report once one has failed.
GRACE_S = 3.0
POLL_EVERY_S = 0.1
LAST_LINES = 25
RANK_LINE = re.compile(rb"\[[A-Za-z_]*(\d+)\]:(.*)", re.DOTALL)
EXIT_LINE = re.compile(rb"exitcode: (-?\d+)\) local_rank: (\d+)")
# Reasons that all ranks find alike: naming one rank would mislead.
SHARED_REASONS = ("bad_spec", "bad_data", "model_load", "nan_loss", "diverged", "server_refused")


def launch_config(spec: TrainSpec) -> dict[str, Any]:
    """accelerate's configuration for the plan: one machine, a free port of localhost, no autocast."""
    h, parallel = spec.hyperparameters, spec.parallel
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "num_machines": 1,
        "num_processes": parallel.processes,
        "machine_rank": 0,
        "main_process_ip": "127.0.0.1",
        "main_process_port": 0,
        "rdzv_backend": "static",
        "same_network": True,
        "gpu_ids": "all",
        "mixed_precision": "no",
        "use_cpu": False,
        "debug": False,
    }
    if parallel.strategy == "fsdp":
        config["distributed_type"] = "FSDP"
        config["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_cpu_ram_efficient_loading": True,
            "fsdp_state_dict_type": "FULL_STATE_DICT",
            "fsdp_offload_params": False,
            "fsdp_activation_checkpointing": False,  # the trainer's own gradient checkpointing does it
        }
    elif parallel.strategy in ("zero2", "zero3"):
        config["distributed_type"] = "DEEPSPEED"
        config["deepspeed_config"] = {
            "zero_stage": int(parallel.strategy[-1]),
            "gradient_accumulation_steps": h.gradient_accumulation,
            "gradient_clipping": h.max_grad_norm or 1e9,
            "offload_optimizer_device": "none",
            "offload_param_device": "none",
            "zero3_init_flag": False,
        }
    return config


def check_packages(spec: TrainSpec) -> None:
    """Raises TrainingFailed when the plan's strategy needs a package that is not there."""
    strategy = spec.parallel.strategy
    if strategy in ("zero2", "zero3") and importlib.util.find_spec("deepspeed") is None:
        raise TrainingFailed(
            "bad_spec",
            f"parallel.strategy {strategy} needs the Python package deepspeed, which this environment does not have",
            "Install it there (docs/hyperparameters.md, several GPUs), or choose parallel: fsdp, without it.",
        )


class Leader:
    """The launcher, the ranks and their output, for one attempt."""

    def __init__(self, scratch: Path, spec: TrainSpec) -> None:
        self.scratch, self.size = scratch, spec.parallel.processes
        self.lines: dict[int | None, collections.deque[str]] = collections.defaultdict(
            lambda: collections.deque(maxlen=LAST_LINES)
        )
        self.exit_codes: dict[int, int] = {}
        self.silent_exits: list[int] = []  # ranks that exited without reporting, in the order of detection
        self._request = False
        self._signaled = False

    def start(self, reply: dict[str, Any], spec: TrainSpec) -> None:
        """Starts the launcher in its own session: a signal to our group must not end ranks that are to save."""
        notes = notes_dir(self.scratch)
        shutil.rmtree(notes, ignore_errors=True)
        notes.mkdir(parents=True)
        write_note(self.scratch, "reply.json", reply)
        write_note(self.scratch, "accelerate.json", launch_config(spec))
        argv = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(notes / "accelerate.json")]
        argv += ["--tee", "3", "--log_dir", str(notes / "logs"), "--module", "finetune_trainer.launch.worker"]
        package = str(Path(__file__).resolve().parents[2])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")
            or str(os.cpu_count() or 1),  # ranks divide it among themselves
            # A sandboxed job has no other network, and no names to resolve.
            "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
            "PYTHONUNBUFFERED": "1",
        }
        self.process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._reader = threading.Thread(target=self._read, name="launcher", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with contextlib.suppress(OSError):
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
            for found in EXIT_LINE.finditer(line):
                self.exit_codes[int(found[2])] = int(found[1])
            mine = RANK_LINE.match(line)
            text = (mine[2] if mine else line).decode("utf-8", "replace").rstrip()[:2000]
            if text:
                self.lines[int(mine[1]) if mine else None].append(text)

    def ask_to_pause(self, *_: Any) -> None:
        """Signal handler: rank 0 gets the signal as soon as it listens."""
        self._request = True

    def reports(self) -> dict[int, dict[str, Any]]:
        """Reports by rank, of the ranks that left one."""
        return {rank: report for rank in range(self.size) if (report := self._note(f"{rank}.json"))}

    def _note(self, name: str) -> Any:
        try:
            return json.loads((notes_dir(self.scratch) / name).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def watch(self) -> None:
        """Returns when launcher and ranks have exited; ends them when one has failed."""
        trouble: float | None = None
        while self.process.poll() is None:
            if self._request and not self._signaled and self._note("listening") and (pid := self._note("0.pid")):
                self._signaled = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            pids = {rank: pid for rank in range(self.size) if (pid := self._note(f"{rank}.pid"))}
            dead = [rank for rank, pid in pids.items() if not alive(pid)]
            reports = self.reports()  # read after the pids: a rank reports before it exits
            self.silent_exits += [rank for rank in dead if rank not in reports and rank not in self.silent_exits]
            if self.silent_exits or any(report["exit"] not in (0, 4) for report in reports.values()):
                trouble = trouble or time.monotonic()
                if time.monotonic() - trouble > GRACE_S:
                    break
            time.sleep(POLL_EVERY_S)
        self.end()

    def end(self) -> None:
        """Ends launcher and ranks and waits until they have exited."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        pids = [pid for rank in range(self.size) if (pid := self._note(f"{rank}.pid"))]
        deadline = time.monotonic() + 30
        while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._reader.join(5)

    def failure(self) -> dict[str, Any]:
        """The first failure as the fields of a `failed` event, with its rank and the last lines."""
        reports = self.reports()
        own = sorted((w["at"], rank) for rank, w in reports.items() if w.get("failure") and not w.get("peer"))
        if own:
            rank = own[0][1]
            failure = reports[rank]["failure"]
            if failure["reason"] not in SHARED_REASONS:
                failure["message"] = f"rank {rank} of {self.size}: {failure['message']}"
            return failure
        if self.silent_exits:
            return self._died(self.silent_exits[0])
        all_failures = sorted((w["at"], rank) for rank, w in reports.items() if w.get("failure"))
        if all_failures:
            rank = all_failures[0][1]
            failure = reports[rank]["failure"]
            return {**failure, "message": f"rank {rank} of {self.size} lost the others: {failure['message']}"}
        return {
            "reason": "internal",
            "message": f"the launcher of {self.size} processes exited with code {self.process.returncode} too early",
            "advice": "See the detail: the launcher's last lines.",
            "retry": True,
            "detail": "\n".join(self.lines[None])[-4000:],
        }

    def _died(self, rank: int) -> dict[str, Any]:
        code = self.exit_codes.get(rank)
        how = "exited without reporting" if code is None or code >= 0 else f"was killed by signal {-code}"
        last = "\n".join(self.lines[rank])
        return {
            "reason": "internal",
            "message": f"rank {rank} of {self.size} {how}"
            + (f"; its last stderr lines: {last[-300:]}" if last else ""),
            "advice": "A process killed from outside has most often used more memory than there is: look at the "
            "machine's log, lower the batch or max_length. Another attempt resumes from the last checkpoint.",
            "retry": True,
            "detail": last[-4000:],
        }


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def run_leader(
    url: str, token: str, scratch: Path, reply: dict[str, Any], spec: TrainSpec, *, signals: bool = True
) -> int:
    """An attempt of several processes, from the spec to the last event; returns the exit code."""
    leader = Leader(scratch, spec)
    if signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leader.ask_to_pause)
    leader.start(reply, spec)
    try:
        leader.watch()
    finally:
        leader.end()
    first = leader.reports().get(0)
    if first and not first.get("failure"):
        return int(first["exit"])
    failure = leader.failure()
    # Rank 0 can no longer report. Its spool can: the unsent events go first, then the failure.
    home = Home(url, token, scratch)
    home.start(reply)
    home.emit("failed", **failure)
    home.close()
    return 2 if failure["reason"] in ("bad_spec", "bad_data") else 1
