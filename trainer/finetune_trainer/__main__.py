"""Starts an attempt: asks home for the spec, does the act it names, says how it ended, and exits with the protocol's code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from . import PROTOCOL
from .control import Commands, TrainingFailed, memory_used_up
from .data import BadData
from .home import Home, HttpFailure
from .parallel import check_packages, lead
from .spec import BadSpec, TrainSpec, parse_spec

OUT_OF_MEMORY_ADVICE = (
    "Lower per_device_batch_size (gradient_accumulation keeps the batch), lower max_length, turn on gradient_checkpointing, "
    "or give the job more memory."
)


def main() -> int:
    """Runs one attempt from the environment a provider sets; returns the exit code."""
    missing = [name for name in ("FTL_HOME_URL", "FTL_ATTEMPT_TOKEN", "FTL_SCRATCH") if not os.environ.get(name)]
    if missing:
        print(f"{', '.join(missing)} must be set; a provider starts this program", file=sys.stderr)
        return 2
    # Nothing is ever fetched from a hub, and caches stay inside the attempt.
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=str(Path(os.environ["FTL_SCRATCH"], "hf")))
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="true")
    return attempt(os.environ["FTL_HOME_URL"], os.environ["FTL_ATTEMPT_TOKEN"], Path(os.environ["FTL_SCRATCH"]))


def attempt(url: str, token: str, scratch: Path, *, signals: bool = True) -> int:
    """One attempt from the first call home to the last event; returns the exit code."""
    scratch.mkdir(parents=True, exist_ok=True)
    home = Home(url, token, scratch)
    commands = Commands(home)
    if signals:
        commands.install_signals()
    reply = home.ask()
    if (spec := _of_many(reply)) and commands.stop is None:
        return lead(url, token, scratch, reply, spec, signals=signals)
    home.start(reply)
    home.phase("starting", f"attempt {reply.get('attempt')}, {reply.get('kind')}")
    try:
        code = _act(home, reply, commands)
    except Exception as error:
        failure = describe(error)
        traceback.print_exc()
        home.emit("failed", **failure, detail=traceback.format_exc()[-4000:])
        code = 2 if failure["reason"] in ("bad_spec", "bad_data") else 1
    home.close()
    return code


def _of_many(reply: dict[str, Any]) -> TrainSpec | None:
    """The spec, when it asks for more than one process and can be carried out; what is wrong with one is said on the usual way."""
    if reply.get("protocol") != PROTOCOL or reply.get("kind") != "train":
        return None
    try:
        spec = parse_spec("train", reply["spec"])
        check_packages(spec)
    except (BadSpec, TrainingFailed):
        return None
    return spec if isinstance(spec, TrainSpec) and spec.parallel.processes > 1 else None


def _act(home: Home, reply: dict[str, Any], commands: Commands) -> int:
    if reply.get("protocol") != PROTOCOL:
        raise BadSpec(f"the server speaks protocol {reply.get('protocol')!r}, this trainer {PROTOCOL}")
    kind = reply["kind"]
    spec = parse_spec(kind, reply["spec"])
    if isinstance(spec, TrainSpec):
        check_packages(spec)
    act = import_module(f".{kind}", __package__)  # late: torch and TRL take seconds to import
    outcome = act.run(home, reply, spec, commands)
    home.emit("finished", outcome=outcome)
    return 0 if outcome == "succeeded" else 4


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as the fields of a `failed` event: reason, message, advice, and whether trying again may help."""
    text = str(error) or type(error).__name__
    if isinstance(error, TrainingFailed):
        return {"reason": error.reason, "message": text, "advice": error.advice, "retry": False}
    if isinstance(error, BadSpec):
        return {
            "reason": "bad_spec",
            "message": text,
            "advice": "Use a trainer of the server's version.",
            "retry": False,
        }
    if isinstance(error, BadData):
        return {"reason": "bad_data", "message": text, "advice": "Correct the dataset and start again.", "retry": False}
    if short := memory_used_up(error):
        return {"reason": "out_of_memory", "message": short, "advice": OUT_OF_MEMORY_ADVICE, "retry": False}
    name, low = type(error).__name__, text.lower()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) or "no space left on device" in low:
        return {
            "reason": "disk_full",
            "message": text,
            "advice": "Free space where the scratch directory lies.",
            "retry": True,
        }
    if name in ("ModelLoad", "BadCheckpoint"):
        return {
            "reason": "model_load",
            "message": text,
            "advice": "Import the model again, or choose another.",
            "retry": False,
        }
    if isinstance(error, HttpFailure):
        return {"reason": "server_refused", "message": text, "advice": "Look at the server's log.", "retry": False}
    return {
        "reason": "internal",
        "message": f"{name}: {text}",
        "advice": "See the detail and the trainer's log.",
        "retry": True,
    }


if __name__ == "__main__":
    sys.exit(main())
