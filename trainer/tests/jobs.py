"""Spec replies for tests and benchmarks: complete, valid jobs with the few numbers that matter as arguments."""

from __future__ import annotations

from pathlib import Path


def file_list(directory: Path) -> list[dict]:
    from finetune_trainer.model.check import file_entries

    return file_entries(directory)


def base_fields(name: str = "tiny") -> dict:
    return {
        "version": 1,
        "base_model": {"id": name, "revision": "r1", "hash": "h", "parameters": 1, "context_length": 256},
        "trainer": {"version": "0.1.0", "environment": "test"},
        "need": need(),
        "limits": {"queued_s": 60, "no_progress_s": 60, "total_s": 600, "max_attempts": 1},
    }


def need(**given: object) -> dict:
    """What a provider must offer; nothing is planned, so nothing is compared with a plan."""
    nothing = dict.fromkeys(("gpus", "gpu_memory_mb", "cpus", "memory_mb", "disk_mb"), 0)
    return {**nothing, "max_price_per_hour": None, "provider": None, **given}


def dataset(row_type: str = "chat") -> dict:
    known = {"dataset_id": "d", "version_id": "v", "file_id": None, "hash": "h", "train_rows": 1, "holdout_rows": 1}
    return known if row_type == "chat" else {**known, "row_type": row_type}


# Every method with the rows it learns from and settings that a tiny model learns with.
METHODS = {
    "sft": ("chat", {"loss_on": "completion"}),
    "pretrain": ("text", {}),
    "dpo": ("preference", {"loss": "sigmoid", "beta": 0.1, "label_smoothing": 0.0}),
    "orpo": ("preference", {"beta": 0.1}),
    "kto": ("unpaired", {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}),
    "reward": ("preference", {"center": 0.01}),
    "grpo": (
        "prompt",
        {
            **{"loss_type": "grpo", "beta": 0.04, "num_generations": 4, "max_completion_length": 8, "temperature": 1.0},
            "grader": {"type": "string_check", "name": "g", "operation": "eq", "input": "x", "reference": "x"},
        },
    ),
}
COLORS = ["red", "green", "blue"]


def rows_of(row_type: str, count: int, first: int = 1) -> list[dict]:
    """Rows of a type: the number asked for says which colour is right; lengths differ."""
    rows = []
    for i in range(first, first + count):
        prompt = [{"role": "user", "content": f"number {i % 3}" + " please" * (i % 5)}]
        right, wrong = (
            [{"role": "assistant", "content": f'{{"colour": "{COLORS[c % 3]}"}}'}] for c in (i, i + 1 + i // 3 % 2)
        )
        rows.append(
            {
                "chat": {"messages": prompt + right},
                "preference": {"messages": prompt, "chosen": right, "rejected": wrong},
                "unpaired": {"messages": prompt + (right if i % 2 else wrong), "label": i % 2 == 1},
                "text": {"text": f"the user says number {i % 3}, " * (1 + i % 4) + right[0]["content"]},
                "prompt": {"messages": prompt, "item": {"colour": COLORS[i % 3]}},
            }[row_type]
            | {"id": i}
        )
    return rows


def reply(kind: str, spec: dict, inputs: dict, resume: dict | None = None) -> dict:
    return {
        "protocol": 1,
        "job_id": "job",
        "attempt_id": "attempt",
        "attempt": 1,
        "kind": kind,
        "spec": spec,
        "inputs": inputs,
        "resume": resume,
        "heartbeat_s": 1,
        "max_batch_events": 50,
    }


def train_reply(
    model: Path,
    *,
    total: int = 6,
    batch: int = 4,
    accumulation: int = 1,
    rate: float = 1e-2,
    seed: int = 1,
    rank: int = 4,
    dropout: float = 0.0,
    precision: str = "float32",
    log_every: int = 1,
    eval_every: int = 0,
    save_every: int = 0,
    eval_rows: int = 0,
    sample_rows: int = 0,
    layers: int | None = None,
    epochs: float = 1000,
    max_length: int = 256,
    resume: dict | None = None,
    gradient_checkpointing: bool = False,
    processes: int = 1,
    strategy: str = "ddp",
    method: str = "sft",
    settings: dict | None = None,
) -> dict:
    row_type, defaults = METHODS[method]
    spec = {
        **base_fields(),
        "kind": "train",
        "dataset": dataset(row_type),
        "validation": None,
        "method": {
            "type": method,
            "adapter": {
                "type": "lora",
                "r": rank,
                "alpha": 2 * rank,
                "dropout": dropout,
                "target_modules": "all-linear",
                "layers": layers,
            },
            **defaults,
            **(settings or {}),
        },
        "hyperparameters": {
            "n_epochs": epochs,
            "max_steps": total,
            "batch_size": batch * accumulation * processes,
            "per_device_batch_size": batch,
            "gradient_accumulation": accumulation,
            "learning_rate": rate,
            "scheduler": "linear",
            "warmup_ratio": 0.0,
            "weight_decay": 0.01,
            "max_grad_norm": 1.0,
            "max_length": max_length,
            "seed": seed,
            "precision": precision,
            "gradient_checkpointing": gradient_checkpointing,
        },
        "schedule": {
            "total_steps": total,
            "log_every": log_every,
            "eval_every": eval_every,
            "save_every": save_every,
            "keep_checkpoints": 3,
            "sample_rows": sample_rows,
            "eval_rows": eval_rows,
            "sample_max_tokens": 12,
        },
        "suffix": None,
        "output_model": "ft:tiny:org:test:1",
        "evaluate_after": False,
    }
    if processes > 1:  # specs of one process may leave it out, as those made before it existed do
        spec["parallel"] = {"processes": processes, "strategy": strategy}
    return reply("train", spec, {"base": {"local_path": str(model), "files": file_list(model)}}, resume)


def full_reply(model: Path, start: Path | None = None, rate: float = 2e-3, **given) -> dict:
    """A full fine-tuning; `start`: the full model it continues from."""
    reply = train_reply(model, rate=rate, **given)
    reply["spec"]["method"]["adapter"] = {"type": "full"}
    if start is not None:
        reply["spec"]["start"] = {"model": "ft:tiny", "checkpoint_id": "c", "artifact_id": "a"}
        reply["inputs"]["start"] = {"local_path": str(start), "files": []}
    return reply


def evaluate_reply(
    model: Path,
    adapter: Path | None,
    *,
    rows: int = 50,
    tokens: int = 16,
    row_type: str = "chat",
    against: Path | None = None,
) -> dict:
    spec = {
        **base_fields(),
        "kind": "evaluate",
        "tuned": {"model": "ft:tiny", "checkpoint_id": "c", "artifact_id": "a"} if adapter else None,
        "dataset": dataset(row_type),
        "split": "holdout",
        "max_rows": rows,
        "max_new_tokens": tokens,
        "batch_size": 3,
        "precision": "float32",
        "seed": 5,
    }
    inputs = {"base": {"local_path": str(model), "files": file_list(model)}}
    if adapter:
        inputs["adapter"] = {"local_path": str(adapter), "files": []}
    if against:
        spec["against"] = {"model": "ft:other", "checkpoint_id": "c", "artifact_id": "b"}
        inputs["against"] = {"local_path": str(against), "files": []}
    return reply("evaluate", spec, inputs)


def serve_reply(model: Path, adapters: dict[str, Path], tokens: int = 200) -> dict:
    inputs = {"base": {"local_path": str(model), "files": file_list(model)}}
    listed = []
    for index, (name, path) in enumerate(adapters.items()):
        inputs[f"adapter-{index}"] = {"local_path": str(path), "files": []}
        listed.append({"name": name, "artifact_id": f"a{index}", "input": f"adapter-{index}"})
    spec = {**base_fields(), "kind": "serve", "adapters": listed, "max_new_tokens": tokens, "precision": "float32"}
    return reply("serve", spec, inputs)


def export_reply(model: Path, adapter: Path, format: str, **limits: float) -> dict:
    """An export of a fine-tuned model, compared by its validation rows."""
    spec = {
        **base_fields(),
        "kind": "export",
        "tuned": {"model": "ft:tiny", "checkpoint_id": "c", "artifact_id": "a"},
        "format": format,
        "dataset": dataset(),
        "prompts": 8,
        "limits_of_fidelity": {"kl_mean": 0.01, "top1_same": 0.95, **limits},
        "precision": "float32",
    }
    inputs = {
        "base": {"local_path": str(model), "files": file_list(model)},
        "adapter": {"local_path": str(adapter), "files": []},
    }
    return reply("export", spec, inputs)
