"""Runs trainings named on standard input, one JSON object per line, on the tiny model, each as a full attempt.
Answers one line for each.

In: {"id", "spec"}: a train spec whose base is the tiny model. Out: {"id", "ok", "message", "seconds"}. What `bun run
matrix` drives.
A spec that continues from a fine-tuned model gets an adapter of its own shape, trained here first.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", OMP_NUM_THREADS="1")

from home_server import TOKEN, HomeServer
from jobs import file_list, reply

COLORS = ["red", "green", "blue"]


def rows_of(kind: str, count: int, first: int) -> list[dict]:
    """Canonical rows of a type, short and of different lengths."""
    out = []
    for i in range(first, first + count):
        question = {"role": "user", "content": f"number {i % 3}" + " please" * (i % 4)}
        good, bad = ({"role": "assistant", "content": f'{{"colour": "{COLORS[(i + k) % 3]}"}}'} for k in (0, 1))
        out.append(
            {
                "chat": {"id": i, "messages": [question, good]},
                "preference": {"id": i, "messages": [question], "chosen": [good], "rejected": [bad]},
                "unpaired": {"id": i, "messages": [question, good if i % 2 else bad], "label": i % 2 == 1},
                "text": {"id": i, "text": f"the user says number {i} " * (1 + i % 3)},
                "prompt": {"id": i, "messages": [question], "item": {"colour": COLORS[i % 3]}},
            }[kind]
        )
    return out


def within(root: Path, address: str) -> tuple[int, str]:
    """An attempt in this process: nothing is imported again. Returns the exit code and what was printed."""
    from finetune_trainer.launch.attempt import attempt

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = attempt(address, TOKEN, root / "scratch", signals=False)
    return code, said.getvalue()


def launched(root: Path, address: str) -> tuple[int, str]:
    """An attempt as a provider starts it, for those of several processes."""
    env = {**os.environ, "FTL_HOME_URL": address, "FTL_ATTEMPT_TOKEN": TOKEN, "FTL_SCRATCH": str(root / "scratch")}
    env["PYTHONPATH"] = str(Path(__file__).parent.parent)
    command = [sys.executable, "-m", "finetune_trainer"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def run(root: Path, spec: dict, model: Path, start: Path | None) -> tuple[str | None, Path]:
    """One attempt; returns what went wrong, or None, and the directory of the artifacts."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    inputs = {"base": {"local_path": str(model), "files": file_list(model)}}
    if start:
        inputs["start"] = {"local_path": str(start), "files": file_list(start)}
    kind = spec["dataset"].get("row_type", "chat")
    data = {"train": rows_of(kind, 12, 1)}
    if spec["schedule"]["eval_rows"]:
        data["holdout"] = rows_of(kind, 4, 101)
    server = HomeServer(root / "home.sock", root / "artifacts", reply("train", spec, inputs), data).start()
    address = f"unix:{server.path}"
    try:
        if spec["parallel"]["processes"] > 1:
            code, said = launched(root, address)
        else:
            code, said = within(root, address)
    finally:
        server.stop()
    failed = server.of("failed")
    if failed:
        return f"{failed[-1]['reason']}: {failed[-1]['message']}", root
    if code != 0 or not (server.complete("adapter") or server.complete("model")):
        return f"exit code {code}: {said[-500:]}", root
    return None, root


def adapter_for(root: Path, spec: dict, model: Path, made: dict[str, Path]) -> Path:
    """The directory of an adapter of the spec's shape, trained once by supervised fine-tuning."""
    shape = spec["method"]["adapter"]
    key = json.dumps(shape, sort_keys=True)
    if key not in made:
        plain = {
            **spec,
            "method": {"type": "sft", "adapter": shape, "loss_on": "completion"},
            "dataset": {k: v for k, v in spec["dataset"].items() if k != "row_type"},
            "hyperparameters": {
                k: v
                for k, v in spec["hyperparameters"].items()
                if k not in ("packing", "neftune_alpha", "early_stopping", "keep_best")
            },
        }
        plain.pop("start")
        problem, directory = run(root / f"start-{len(made)}", plain, model, None)
        if problem:
            raise RuntimeError(f"could not create the adapter to continue from: {problem}")
        found = next(
            p for name in ("adapter_config.json", "model.safetensors") for p in (directory / "artifacts").rglob(name)
        )
        made[key] = found.parent
    return made[key]


def main() -> None:
    """Reads specs until standard input ends."""
    # Libraries print to standard output, which is for the answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="ftl-matrix-") as name:
        root = Path(name)
        if given := os.environ.get("FTL_TEST_TINY_MODEL"):
            model = Path(given)
        else:
            from conftest import make_tiny_model

            model = make_tiny_model(root / "tiny")
        made: dict[str, Path] = {}
        for line in sys.stdin:
            asked = json.loads(line)
            began = time.monotonic()
            try:
                start = adapter_for(root, asked["spec"], model, made) if asked["spec"].get("start") else None
                problem, _ = run(root / "run", asked["spec"], model, start)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            answer = {"id": asked["id"], "ok": problem is None, "message": problem}
            line = json.dumps({**answer, "seconds": round(time.monotonic() - began, 2)})
            print(line, file=answers, flush=True)


if __name__ == "__main__":
    main()
