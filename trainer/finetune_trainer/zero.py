"""Checkpoints of DeepSpeed's ZeRO in the same files as all others: its own are pickles, and its tensors lie in parts it alone can join."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from . import checkpoint

SLOTS = ("exp_avg", "exp_avg_sq")


def collect(parts: checkpoint.Parts) -> checkpoint.Contents:
    """The live state as whole tensors; all ranks call it together, since each holds parts."""
    import deepspeed
    from deepspeed.utils import safe_get_full_optimizer_state

    trained = _trained(parts.model)
    with deepspeed.zero.GatheredParameters(list(trained.values())):
        adapter = {
            name: checkpoint.whole(tensor)
            for name, tensor in get_peft_model_state_dict(parts.model, save_embedding_layers=False).items()
        }
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in trained.items():
        for slot in SLOTS:
            tensors[f"{name}/{slot}"] = checkpoint.whole(safe_get_full_optimizer_state(parameter, slot))
        tensors[f"{name}/step"] = torch.tensor(float(_step(parts.optimizer)))
    inner = parts.optimizer.optimizer
    groups = [{k: v for k, v in group.items() if k != "params"} for group in inner.param_groups]
    schedule = {k: v for k, v in parts.scheduler.state_dict().items() if k != "lr_lambdas"}
    return checkpoint.Contents(adapter, parts.model.peft_config["default"].to_dict(), tensors, groups, schedule)


def load(directory: Path, parts: checkpoint.Parts) -> None:
    """Restores adapter (working and full-precision copies), optimizer and schedule. Raises BadCheckpoint."""
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    adapter = load_file(directory / checkpoint.ADAPTER_FILES[0])
    slots = load_file(directory / "optimizer.safetensors")
    step = None
    for name, parameter in _trained(parts.model).items():
        # DoRA's magnitudes are modules in the model and plain tensors in the file.
        weights = adapter.get(name.replace(".default.", ".").replace("magnitude_vector.weight", "magnitude_vector"))
        if weights is None or f"{name}/{SLOTS[0]}" not in slots:
            raise checkpoint.BadCheckpoint(f"the checkpoint lacks {name} of this model")
        safe_set_full_fp32_param(parameter, weights.float().to(parameter.device))
        for slot in SLOTS:
            safe_set_full_optimizer_state(parameter, slots[f"{name}/{slot}"].to(parameter.device), slot)
        step = slots[f"{name}/step"]
    for state in parts.optimizer.optimizer.state.values():
        if "step" in state:
            state["step"] = step.clone() if torch.is_tensor(state["step"]) else int(step)
    saved = checkpoint.read_state(directory)["stateful_callbacks"][checkpoint.OURS]
    parts.scheduler.load_state_dict({**parts.scheduler.state_dict(), **saved["scheduler"]})


def _trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _step(optimizer: Any) -> float:
    return max((float(state["step"]) for state in optimizer.optimizer.state.values() if "step" in state), default=0.0)
