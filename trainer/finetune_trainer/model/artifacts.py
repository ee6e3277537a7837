"""What the directory of a fine-tuned model holds: an adapter, a full model or a reward model."""

from __future__ import annotations

import json
from pathlib import Path

from ..protocol.failures import ModelLoad
from .check import read_safetensors_header


def check_adapter(name: str, directory: Path) -> None:
    """Raises ModelLoad unless the directory holds a LoRA adapter as valid safetensors."""
    try:
        read_safetensors_header(directory / "adapter_model.safetensors")
        config = json.loads((directory / "adapter_config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelLoad(f"adapter {name}: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or config.get("auto_mapping"):
        raise ModelLoad(f"adapter {name}: adapter_config.json does not describe a LoRA adapter")


def is_full_model(directory: Path) -> bool:
    """Whether the files of a fine-tuned model are a full model, not an adapter for a base."""
    return (directory / "model.safetensors").is_file() and not (directory / "adapter_config.json").exists()


def is_reward_model(directory: Path) -> bool:
    """Whether a fine-tuned model, checked before, is a reward model: its head gives one number."""
    if is_full_model(directory):
        config = json.loads((directory / "config.json").read_text("utf-8"))
        return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or [])
    config = json.loads((directory / "adapter_config.json").read_text("utf-8"))
    return config.get("task_type") == "SEQ_CLS"
