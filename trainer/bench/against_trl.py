"""Training speed beside a plain TRL script on the same rows, model and LoRA: `python bench/against_trl.py MODEL_DIR [--steps 12]`.

Both run in turn in processes of their own, `--rounds` times; printed are tokens a second without padding (first step left
out), wall and processor time, and the ratio. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SYSTEM = "Answer with JSON: intent and team."
INTENTS = ["lost_card", "card_arrival", "exchange_rate", "refund", "top_up_failed", "pin_change", "atm_fee", "pending"]
BATCH, RANK, RATE, SEED = 8, 16, 1e-3, 42


def make_rows(count: int) -> list[dict]:
    """Rows of many lengths, as real messages have them; the same ones every time."""
    import random

    rng = random.Random(SEED)
    text = "my card transfer to the bank in Paris did not arrive and I would like to know why it was charged twice"
    words = text.split()
    rows = []
    for index in range(count):
        question = " ".join(rng.choice(words) for _ in range(min(90, 4 + int(rng.expovariate(1 / 14)))))
        answer = json.dumps({"intent": rng.choice(INTENTS), "team": rng.choice(["cards", "payments"])})
        turns = [("system", SYSTEM), ("user", question), ("assistant", answer)]
        rows.append({"id": index + 1, "messages": [{"role": r, "content": c} for r, c in turns]})
    return rows


class Clock:
    """Wall and processor seconds of the steps after the first."""

    def __init__(self) -> None:
        self.start = self.wall = self.cpu = 0.0

    def first_done(self) -> None:
        self.start, self.cpu_start = time.perf_counter(), time.process_time()

    def last_done(self) -> None:
        self.wall, self.cpu = time.perf_counter() - self.start, time.process_time() - self.cpu_start


def timing_callback(clock: Clock, steps: int):
    """A transformers callback that runs the clock over steps 2 to `steps`."""
    from transformers import TrainerCallback

    class Timing(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 1:
                clock.first_done()
            if state.global_step == steps:
                clock.last_done()

    return Timing()


def plain(model_dir: str, steps: int, precision: str) -> dict:
    """TRL as its documentation shows it: prompt-completion rows, SFTConfig, peft_config."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    rows = make_rows(BATCH * steps)
    data = [{"prompt": r["messages"][:2], "completion": r["messages"][2:]} for r in rows]
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=getattr(torch, precision), local_files_only=True)
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=RATE, seed=SEED, logging_steps=1,
            save_strategy="no", report_to=[], disable_tqdm=True, bf16=False, gradient_checkpointing=False, max_length=512,
            use_cpu=True, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(data), processing_class=tokenizer,
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
            callbacks=[timing_callback(clock, steps)],
        )  # fmt: skip
        tokens = 0
        collate = trainer.data_collator

        def counting(batch):
            nonlocal tokens
            out = collate(batch)
            counts.append(int(out["attention_mask"].sum()))
            return out

        counts: list[int] = []
        trainer.data_collator = counting
        trainer.train()
        tokens = sum(counts[1:steps])
    return {"tokens": tokens, "wall": clock.wall, "cpu": clock.cpu, "loss": trainer.state.log_history[-2].get("loss")}


def ours(model_dir: str, steps: int, precision: str) -> dict:
    """The trainer of this package as a job runs it, reporting to a server on a socket at every step."""
    sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]
    from home_server import TOKEN, HomeServer
    from jobs import train_reply

    from finetune_trainer import train
    from finetune_trainer.control import Commands
    from finetune_trainer.home import Home
    from finetune_trainer.spec import parse_spec

    rows = make_rows(BATCH * steps)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        reply = train_reply(
            Path(model_dir), total=steps, batch=BATCH, rate=RATE, seed=SEED, rank=RANK, precision=precision
        )
        server = HomeServer(root / "home.sock", root / "artifacts", reply, {"train": rows}).start()
        home = Home(f"unix:{root / 'home.sock'}", TOKEN, root / "scratch")
        spent = [0.0]
        emit = home.emit

        def timed(*a, **k):
            began = time.perf_counter()
            emit(*a, **k)
            spent[0] += time.perf_counter() - began

        home.emit = timed
        clock = Clock()
        load = train.load_method

        def with_clock(name):
            module = load(name)

            class Wrapped:
                @staticmethod
                def build(*a, **k):
                    trainer = module.build(*a, **k)
                    trainer.add_callback(timing_callback(clock, steps))
                    return trainer

            return Wrapped

        train.load_method = with_clock
        spec = parse_spec("train", home.start()["spec"])
        train.run(home, reply, spec, Commands(home))
        home.close()
        logs = [e for e in server.of("metrics") if "train/loss" in e["values"]]
        seen = [e["tokens_seen"] for e in server.of("progress")]
        server.stop()
        step_tokens = [e["values"]["perf/tokens_per_second"] * e["values"]["perf/step_seconds"] for e in logs]
    return {
        "tokens": round(sum(step_tokens[1:])), "wall": clock.wall, "cpu": clock.cpu, "loss": logs[-1]["values"]["train/loss"],
        "emit_share": spent[0] / max(clock.wall, 1e-9), "seen": seen[-1],
    }  # fmt: skip


def main() -> None:
    """Runs both sides in turn and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--side", choices=["plain", "ours"])
    a = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    if a.side:
        print("\n" + json.dumps({"plain": plain, "ours": ours}[a.side](a.model, a.steps, a.precision)))
        return
    results: dict[str, list[dict]] = {"plain": [], "ours": []}
    for _ in range(a.rounds):
        for side in results:
            command = [
                sys.executable,
                __file__,
                a.model,
                "--steps",
                str(a.steps),
                "--precision",
                a.precision,
                "--side",
                side,
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-3000:])
            results[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
            r = results[side][-1]
            print(
                f"{side:6} {r['tokens'] / r['wall']:7.1f} tokens/s  {r['tokens'] / r['cpu']:7.1f} tokens per processor second"
            )
    rate = {side: statistics.median(r["tokens"] / r["wall"] for r in runs) for side, runs in results.items()}
    cpu = {side: statistics.median(r["tokens"] / r["cpu"] for r in runs) for side, runs in results.items()}
    share = statistics.median(r["emit_share"] for r in results["ours"])
    print(
        json.dumps(
            {
                "precision": a.precision, "plain_trl_tokens_per_second": round(rate["plain"], 1),
                "trainer_tokens_per_second": round(rate["ours"], 1), "ratio": round(rate["ours"] / rate["plain"], 3),
                "ratio_processor_time": round(cpu["ours"] / cpu["plain"], 3), "events_share_of_time": round(share, 5),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
