"""Which options of a training can be combined: the rules of support.json, which the server reads too."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from ..protocol.failures import TrainingFailed
from .models import Dpo, Grpo, Lora, Sft, TrainSpec

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("support.json").read_text("utf-8"))


def facts_of(spec: TrainSpec, device: str) -> dict[str, Any]:
    """The spec as the rules see it. `device` is `cpu` or `gpu`."""
    m, h = spec.method, spec.hyperparameters
    lora = m.adapter if isinstance(m.adapter, Lora) else None
    facts = {
        "method": m.type,
        "rows": spec.dataset.row_type,
        "adapter": m.adapter.type,
        "rslora": lora is not None and lora.rslora,
        "dora": lora is not None and lora.dora,
        "layers": "all" if lora is None or lora.layers is None else "top",
        "quantization": m.quantization,
        "precision": h.precision,
        "start": "tuned" if spec.start else "base",
        "optimizer": h.optimizer,
        "scheduler": h.scheduler,
        "packing": h.packing,
        "padding_free": h.padding_free,
        "neftune": h.neftune_alpha is not None,
        "gradient_checkpointing": h.gradient_checkpointing,
        "rows_at_once": "one" if h.per_device_batch_size == 1 else "many",
        "accumulation": "some" if h.gradient_accumulation > 1 else "none",
        "holdout": "some" if spec.schedule.eval_rows else "none",
        "early_stopping": h.early_stopping is not None,
        "keep_best": h.keep_best,
        "attention": h.attention,
        "liger_kernel": h.liger_kernel,
        "torch_compile": h.torch_compile,
        "strategy": spec.parallel.strategy,
        "device": device,
    }
    if isinstance(m, Sft):
        facts["loss_on"] = m.loss_on
    if isinstance(m, Dpo):
        facts |= {"loss": m.loss, "label_smoothing": "some" if m.label_smoothing else "none"}
    if isinstance(m, Grpo):
        facts["loss_type"] = m.loss_type
    return facts


def refusal(facts: dict[str, Any]) -> str | None:
    """Why a training with these facts is refused, or None: the reason of the first rule whose conditions all hold."""
    for rule in TABLE["rules"]:
        if all(key in facts and facts[key] in values for key, values in rule["when"].items()):
            return rule["reason"]
    return None


def check(spec: TrainSpec, device: str) -> None:
    """Refuses a spec that the table refuses. Raises TrainingFailed with the table's reason."""
    if reason := refusal(facts_of(spec, device)):
        raise TrainingFailed("bad_spec", reason, "Change the option it names and start the job again.")


def check_packages(spec: TrainSpec) -> None:
    """Refuses what the packages of this machine cannot do, before any model is loaded. Raises TrainingFailed."""
    h = spec.hyperparameters
    wanted = [
        ("attention", "flash-attn", "flash_attn", h.attention == "flash_attention_2"),
        ("liger_kernel", "liger-kernel", "liger_kernel", h.liger_kernel),
    ]
    for field, package, module, wants in wanted:
        if wants and importlib.util.find_spec(module) is None:
            raise TrainingFailed(
                "bad_spec",
                f"'{field}' needs the package {package}, which the trainer's environment does not have",
                f"Leave {field} out, or install {package} where the trainer runs.",
            )
