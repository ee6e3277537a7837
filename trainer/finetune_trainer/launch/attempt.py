"""Runs one attempt: fetches the spec, runs the job of its kind, reports how it ended, and returns the protocol's exit
code.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from .. import HUGE_PAGES, PROTOCOL
from ..protocol.bootstrap import attempt_token
from ..protocol.connection import HttpFailure, Refused
from ..protocol.control import Commands
from ..protocol.failures import BadSpec, TrainingFailed, describe
from ..protocol.home import Home
from ..spec.models import TrainSpec
from ..spec.parse import parse_spec
from .imports import runner_of
from .leader import check_packages, run_leader


def main() -> int:
    """Runs one attempt from the environment a provider sets; returns the exit code."""
    if bootstrap := os.environ.pop("FTL_BOOTSTRAP_TOKEN", None):
        os.environ.setdefault("FTL_ATTEMPT_TOKEN", bootstrap)
    missing = [name for name in ("FTL_HOME_URL", "FTL_ATTEMPT_TOKEN", "FTL_SCRATCH") if not os.environ.get(name)]
    if missing:
        print(f"{', '.join(missing)} must be set; a provider starts this program", file=sys.stderr)
        return 2
    # No library fetches anything from a hub (protocol/hub.py is the only one that may), and caches stay in the attempt.
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=str(Path(os.environ["FTL_SCRATCH"], "hf")))
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="true")
    os.environ.setdefault(*HUGE_PAGES)  # a fork of the warm launcher has an environment of its own
    url, scratch = os.environ["FTL_HOME_URL"], Path(os.environ["FTL_SCRATCH"])
    try:
        token = attempt_token(url, os.environ["FTL_ATTEMPT_TOKEN"], scratch)
    except (Refused, HttpFailure) as refused:
        print(refused, file=sys.stderr, flush=True)
        return 3
    os.environ["FTL_ATTEMPT_TOKEN"] = token  # for the other processes of the attempt
    return attempt(url, token, scratch)


def attempt(url: str, token: str, scratch: Path, *, signals: bool = True) -> int:
    """One attempt from the request for the spec to the last event; returns the exit code."""
    scratch.mkdir(parents=True, exist_ok=True)
    home = Home(url, token, scratch)
    commands = Commands(home)
    if signals:
        commands.install_signals()
    reply = home.ask()
    if (spec := _multi_process_spec(reply)) and commands.stop is None:
        return run_leader(url, token, scratch, reply, spec, signals=signals)
    home.start(reply)
    home.phase("starting", f"attempt {reply.get('attempt')}, {reply.get('kind')}")
    try:
        code = _run_job(home, reply, commands)
    except Exception as error:
        failure = describe(error)
        traceback.print_exc()
        home.emit("failed", **failure, detail=traceback.format_exc()[-4000:])
        code = 2 if failure["reason"] in ("bad_spec", "bad_data") else 1
    home.close()
    if signals:
        # Libraries, models and open connections take seconds to tear down, and nothing is left to save.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _multi_process_spec(reply: dict[str, Any]) -> TrainSpec | None:
    """The spec, when it is valid and asks for several processes; what is wrong with one is reported by `_run_job`."""
    if reply.get("protocol") != PROTOCOL or reply.get("kind") != "train":
        return None
    try:
        spec = parse_spec("train", reply["spec"])
        check_packages(spec)
    except (BadSpec, TrainingFailed):
        return None
    return spec if isinstance(spec, TrainSpec) and spec.parallel.processes > 1 else None


def _run_job(home: Home, reply: dict[str, Any], commands: Commands) -> int:
    if reply.get("protocol") != PROTOCOL:
        raise BadSpec(f"the server speaks protocol {reply.get('protocol')!r}, this trainer {PROTOCOL}")
    kind = reply["kind"]
    spec = parse_spec(kind, reply["spec"])
    if isinstance(spec, TrainSpec):
        check_packages(spec)
    outcome = runner_of(spec).run(home, reply, spec, commands)
    home.emit("finished", outcome=outcome)
    return 0 if outcome == "succeeded" else 4
