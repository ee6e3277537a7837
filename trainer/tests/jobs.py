"""Spec replies for tests and benchmarks: complete, valid jobs with the few numbers that matter as arguments."""

from __future__ import annotations

from pathlib import Path


def file_list(directory: Path) -> list[dict]:
    from finetune_trainer.modelcheck import file_entries

    return file_entries(directory)


def base_fields(name: str = "tiny") -> dict:
    return {
        "version": 1,
        "base_model": {"id": name, "revision": "r1", "hash": "h", "parameters": 1, "context_length": 256},
        "trainer": {"version": "0.1.0", "environment": "test"},
        "need": {},
        "limits": {},
    }


def dataset() -> dict:
    return {"dataset_id": "d", "version_id": "v", "file_id": None, "hash": "h", "train_rows": 1, "holdout_rows": 1}


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
) -> dict:
    spec = {
        **base_fields(),
        "kind": "train",
        "dataset": dataset(),
        "validation": None,
        "method": {
            "type": "sft",
            "adapter": {
                "type": "lora",
                "r": rank,
                "alpha": 2 * rank,
                "dropout": dropout,
                "target_modules": "all-linear",
                "layers": layers,
            },
            "loss_on": "completion",
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


def evaluate_reply(model: Path, adapter: Path | None, *, rows: int = 50, tokens: int = 16) -> dict:
    spec = {
        **base_fields(),
        "kind": "evaluate",
        "tuned": {"model": "ft:tiny", "checkpoint_id": "c", "artifact_id": "a"} if adapter else None,
        "dataset": dataset(),
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
    return reply("evaluate", spec, inputs)


def serve_reply(model: Path, adapters: dict[str, Path], tokens: int = 200) -> dict:
    inputs = {"base": {"local_path": str(model), "files": file_list(model)}}
    listed = []
    for index, (name, path) in enumerate(adapters.items()):
        inputs[f"adapter-{index}"] = {"local_path": str(path), "files": []}
        listed.append({"name": name, "artifact_id": f"a{index}", "input": f"adapter-{index}"})
    spec = {**base_fields(), "kind": "serve", "adapters": listed, "max_new_tokens": tokens, "precision": "float32"}
    return reply("serve", spec, inputs)
