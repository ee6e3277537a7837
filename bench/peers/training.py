"""One side of the trainer benchmark in a separate process: `python training.py SIDE METHOD MODEL_DIR STEPS
PRECISION ROWS_FILE`; the last line it prints is JSON.

Sides: `ours` (the trainer as in a job, reporting to a server on a socket; with one of LEVERS after a colon, with or
without that one), `trl` (the code behind `trl sft` and `trl dpo`), `llamafactory` (its `run_exp`, the code behind
`llamafactory-cli train`). All have the same rows, LoRA, batch, learning rate and schedule, no checkpoints, and one log
line per step.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import resource
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BATCH, RANK, SEED, MAX_LENGTH, BETA = 8, 16, 42, 512, 0.1
RATE = {"sft": 1e-3, "dpo": 1e-4}


class Clock:
    """Tokens, wall-clock and CPU seconds of the steps after the first (the warm-up), and the losses."""

    def __init__(self, steps: int) -> None:
        self.steps, self.tokens, self.seen, self.losses = steps, 0, 0, []

    def step_done(self, step: int) -> None:
        """Called after every optimizer step."""
        if step == 1:
            self.tokens = 0
            self.wall, self.cpu = time.perf_counter(), time.process_time()
        if step == self.steps:
            self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
            self.seen = self.tokens

    def result(self) -> dict[str, Any]:
        """The result that this side prints."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"tokens": self.seen, "wall": self.wall, "cpu": self.cpu, "peak_mb": round(peak), "losses": self.losses}


def watch(clock: Clock) -> Any:
    """A transformers callback that measures the steps; every trainer of this process reports the tokens of its
    batches to it."""
    from transformers import Trainer, TrainerCallback

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.step_done(state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                clock.losses.append(round(float(logs["loss"]), 4))

    step = Trainer.training_step

    def counting(self: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        clock.tokens += int(inputs["attention_mask"].sum())
        return step(self, model, inputs, *rest, **named)

    Trainer.training_step = counting
    return Watch()


def shared(steps: int, out: str, rate: float) -> dict[str, Any]:
    """Arguments with the same name in transformers, TRL and LLaMA-Factory."""
    return {
        "output_dir": out, "max_steps": steps, "per_device_train_batch_size": BATCH, "gradient_accumulation_steps": 1, "learning_rate": rate,
        "lr_scheduler_type": "linear", "warmup_steps": 0, "seed": SEED, "logging_steps": 1, "save_strategy": "no", "use_cpu": True,
        "dataloader_pin_memory": False, "bf16": False, "disable_tqdm": True,
    }  # fmt: skip


def with_trl(method: str, model_dir: str, steps: int, precision: str, rows: list[dict]) -> dict[str, Any]:
    """TRL, called like its own scripts do."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    clock = Clock(steps)
    tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=getattr(torch, precision), local_files_only=True)
    lora = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
    trainer, config = (SFTTrainer, SFTConfig) if method == "sft" else (DPOTrainer, DPOConfig)
    with tempfile.TemporaryDirectory() as out:
        more = {} if method == "sft" else {"beta": BETA}
        arguments = config(
            **shared(steps, out, RATE[method]), **more, max_length=MAX_LENGTH, report_to=[], gradient_checkpointing=False
        )
        data = Dataset.from_list([plain(row) for row in rows])
        made = trainer(
            model=model, args=arguments, train_dataset=data, processing_class=tokenizer, peft_config=lora,
            callbacks=[watch(clock)],
        )  # fmt: skip
        made.train()
    return clock.result()


def plain(row: dict) -> dict:
    """A canonical row in the format of TRL's documentation."""
    if "chosen" in row:
        return {"prompt": row["messages"], "chosen": row["chosen"], "rejected": row["rejected"]}
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def with_llamafactory(method: str, model_dir: str, steps: int, precision: str, rows: list[dict]) -> dict[str, Any]:
    """LLaMA-Factory, called like its command line does. Gradient checkpointing, its default, is slower and disabled as
    for the others."""
    import transformers

    _ = transformers.EarlyStoppingCallback  # loaded before the empty modules below, which its import checks
    for name in ("torchaudio", "av"):  # audio and video, which are not used here
        if importlib.util.find_spec(name) is None:
            empty = types.ModuleType(name)
            empty.__spec__ = importlib.machinery.ModuleSpec(name, None)
            sys.modules[name] = empty
    from llamafactory.train.tuner import run_exp

    clock = Clock(steps)
    with tempfile.TemporaryDirectory() as folder:
        pairs = method == "dpo"
        model_dir = saying(model_dir, precision, Path(folder, "model"))
        Path(folder, "rows.json").write_text(json.dumps([talk(row) for row in rows]))
        columns = {"messages": "conversations", **({"chosen": "chosen", "rejected": "rejected"} if pairs else {})}
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
        about = {"file_name": "rows.json", "formatting": "sharegpt", "ranking": pairs, "columns": columns, "tags": tags}
        Path(folder, "dataset_info.json").write_text(json.dumps({"rows": about}))
        run_exp(
            {
                **shared(steps, str(Path(folder, "out")), RATE[method]), "stage": method, "do_train": True, "model_name_or_path": model_dir,
                "template": "smollm2", "dataset": "rows", "dataset_dir": folder, "cutoff_len": MAX_LENGTH, "finetuning_type": "lora",
                "lora_target": "all", "lora_rank": RANK, "lora_alpha": 2 * RANK, "lora_dropout": 0.0, "disable_gradient_checkpointing": True,
                "pure_bf16": precision == "bfloat16", "report_to": "none", "overwrite_cache": True, **({"pref_beta": BETA} if pairs else {}),
            },
            callbacks=[watch(clock)],
        )  # fmt: skip
    return clock.result()


def saying(model_dir: str, precision: str, to: Path) -> str:
    """A copy of the model whose configuration has this precision: LLaMA-Factory computes in that one."""
    to.mkdir()
    for path in Path(model_dir).iterdir():
        if path.name != "config.json":
            (to / path.name).symlink_to(path.resolve())
    config = json.loads(Path(model_dir, "config.json").read_text("utf-8"))
    (to / "config.json").write_text(json.dumps({**config, "dtype": precision, "torch_dtype": precision}))
    return str(to)


def talk(row: dict) -> dict:
    """A canonical row in the format of LLaMA-Factory."""
    if "chosen" in row:
        return {"conversations": row["messages"], "chosen": row["chosen"][0], "rejected": row["rejected"][0]}
    return {"conversations": row["messages"]}


LEVERS = ("all-logits", "mixed-lengths", "packed", "top-third")


def pull(lever: str, spec: dict[str, Any]) -> None:
    """Removes one optimization of the trainer, or adds an optional one."""
    from finetune_trainer.data import order
    from finetune_trainer.model import score

    if lever == "all-logits":  # logits of every position, as models compute them by default
        score._logits_at = lambda causal, ids, mask, positions: (
            causal(input_ids=ids, position_ids=positions, use_cache=False).logits[:, :-1][mask].float()
        )
    elif lever == "mixed-lengths":  # random batches
        order.BucketSampler.WINDOW_BATCHES = 1
    elif lever == "packed":
        spec["hyperparameters"] |= {"packing": True, "per_device_batch_size": 1, "gradient_accumulation": 1, "batch_size": 1}
    elif lever == "top-third":
        layers = json.loads(Path(spec["model_dir"], "config.json").read_text())["num_hidden_layers"]
        spec["method"]["adapter"]["layers"] = round(layers / 3)


def with_ours(
    method: str, model_dir: str, steps: int, precision: str, rows: list[dict], lever: str = ""
) -> dict[str, Any]:
    """The trainer of this project as in a job, with a server on a socket that accepts every event."""
    sys.path[:0] = [str(ROOT / "trainer"), str(ROOT / "trainer/tests")]
    from home_server import TOKEN, HomeServer
    from jobs import train_reply

    from finetune_trainer.training import train
    from finetune_trainer.protocol.control import Commands
    from finetune_trainer.protocol.home import Home
    from finetune_trainer.spec.parse import parse_spec

    clock = Clock(steps)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = {"beta": BETA} if method == "dpo" else {}
        reply = train_reply(
            Path(model_dir), total=steps, batch=BATCH, rate=RATE[method], seed=SEED, rank=RANK, precision=precision,
            method=method, max_length=MAX_LENGTH, settings=settings,
        )  # fmt: skip
        pull(lever, {**reply["spec"], "model_dir": model_dir})
        server = HomeServer(root / "home.sock", root / "artifacts", reply, {"train": rows}).start()
        home = Home(f"unix:{root / 'home.sock'}", TOKEN, root / "scratch")
        load = train.load_method

        def with_clock(name: str) -> Any:
            module = load(name)

            def build(*given: Any, **named: Any) -> Any:
                from transformers import TrainerCallback

                trainer = module.build(*given, **named)

                class Watch(TrainerCallback):
                    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                        clock.step_done(state.global_step)

                trainer.add_callback(Watch())
                return trainer

            return types.SimpleNamespace(build=build)

        train.load_method = with_clock
        spec = parse_spec("train", home.start()["spec"])
        train.run(home, reply, spec, Commands(home))
        home.close()
        logs = [event["values"] for event in server.of("metrics") if "train/loss" in event["values"]]
        server.stop()
    clock.losses = [round(one["train/loss"], 4) for one in logs]
    tokens = sum(one["perf/tokens_per_second"] * one["perf/step_seconds"] for one in logs[1:])
    return {**clock.result(), "tokens": round(tokens)}


SIDES = {"ours": with_ours, "trl": with_trl, "llamafactory": with_llamafactory}


def main() -> None:
    """Runs one side and prints the result."""
    side, method, model_dir, steps, precision, path = sys.argv[1:]
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    side, _, lever = side.partition(":")
    more = {"lever": lever} if lever else {}
    print("\n" + json.dumps(SIDES[side](method, model_dir, int(steps), precision, rows, **more)))


if __name__ == "__main__":
    main()
