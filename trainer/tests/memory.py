"""Runs trainings named on standard input, one JSON object per line, each in a process of its own; answers a line each
with its peaks.

In: {"id", "model": directory, "spec", "row_tokens", "answer_tokens"}. Out: {"id", "peak_mb", "canary_mb", "length",
"message"}.
What `bun run memory` drives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")

from home_server import TOKEN, HomeServer
from jobs import file_list, reply


def rows_of(kind: str, count: int, tokens: int, answer: int) -> list[dict]:
    """Rows of a type of about `tokens` tokens, of which the answer has `answer`."""
    around = 45 if kind == "prompt" else 25  # what the template adds; a prompt that is too long is dropped, not cut
    question = {"role": "user", "content": " number" * max(1, tokens - answer - around)}
    good, bad = ({"role": "assistant", "content": word * answer} for word in (" colour", " house"))
    row = {
        "chat": {"messages": [question, good]},
        "preference": {"messages": [question], "chosen": [good], "rejected": [bad]},
        "unpaired": {"messages": [question, good], "label": True},
        "text": {"text": " number" * (tokens - 2)},
        "prompt": {"messages": [question], "item": {}},
    }[kind]
    return [{**row, "id": i, **({"label": i % 2 == 1} if kind == "unpaired" else {})} for i in range(1, count + 1)]


def launched(root: Path, address: str) -> tuple[int, str]:
    """An attempt as a provider starts it. Returns the exit code and what was printed."""
    env = {**os.environ, "FTL_HOME_URL": address, "FTL_ATTEMPT_TOKEN": TOKEN, "FTL_SCRATCH": str(root / "scratch")}
    env["PYTHONPATH"] = str(Path(__file__).parent.parent)
    command = [sys.executable, "-m", "finetune_trainer"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def run(asked: dict) -> dict:
    """One training, as a provider starts it."""
    spec, model = asked["spec"], Path(asked["model"])
    kind = spec["dataset"].get("row_type", "chat")
    count = spec["hyperparameters"]["batch_size"] * 2
    written = spec["method"].get("max_completion_length")
    data = {"train": rows_of(kind, count, asked["row_tokens"], written or asked["answer_tokens"])}
    with tempfile.TemporaryDirectory(prefix="ftl-memory-") as name:
        root = Path(name)
        inputs = {"base": {"local_path": str(model), "files": file_list(model)}}
        server = HomeServer(root / "home.sock", root / "artifacts", reply("train", spec, inputs), data).start()
        try:
            code, said = launched(root, f"unix:{server.path}")
        finally:
            server.stop()
    result, canary = (found[-1] if (found := server.of(name)) else {} for name in ("result", "canary"))
    return {
        "id": asked["id"],
        "peak_mb": result.get("result", {}).get("peak_memory_mb"),
        "canary_mb": canary.get("peak_memory_mb"),
        "length": canary.get("length"),
        "message": None if code == 0 else (server.of("failed") or [{"message": said[-500:]}])[-1]["message"],
    }


def main() -> None:
    """Reads until standard input ends."""
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
