"""The adapter of a training: which layers it is laid on, and PEFT's configuration for it."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig

from .spec import TrainSpec

# The layer of a model that gives one number instead of words; it is trained whole, beside the adapter.
SCORE_HEAD = "score"


def linear_names(model: Any) -> list[str]:
    """Last names of all linear layers but the output head: what `all-linear` means."""
    heads = [getattr(model, SCORE_HEAD)] if hasattr(model, SCORE_HEAD) else [model.get_output_embeddings()]
    return sorted(
        {
            n.rpartition(".")[2]
            for n, m in model.named_modules()
            if isinstance(m, torch.nn.Linear) and not any(m is head for head in heads)
        }
    )


def lora_config(spec: TrainSpec, model: Any) -> LoraConfig:
    """PEFT's configuration for the spec's adapter. A reward model's head is kept in the adapter's files."""
    lora = spec.method.adapter
    layers = model.config.get_text_config().num_hidden_layers
    top = None if lora.layers is None or lora.layers >= layers else list(range(layers - lora.layers, layers))
    reward = spec.method.type == "reward"
    return LoraConfig(
        task_type="SEQ_CLS" if reward else "CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=linear_names(model) if lora.target_modules == "all-linear" else list(lora.target_modules),
        layers_to_transform=top,
        modules_to_save=[SCORE_HEAD] if reward else None,
    )
