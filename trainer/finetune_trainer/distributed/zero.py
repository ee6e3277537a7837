"""Checkpoints of DeepSpeed ZeRO in the same files as all others: its own are pickles with shards
that only it can join.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from ..model import checkpoint
from ..protocol.failures import BadCheckpoint

SLOTS = ("exp_avg", "exp_avg_sq")
# What the engine counts at a step.
COUNTED = ("micro_steps", "global_steps", "global_samples", "skipped_steps")


def collect(parts: checkpoint.Parts) -> checkpoint.Contents:
    """The live state as full tensors; all ranks call it together, since each holds shards."""
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
    import deepspeed
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    _allocate_state(parts.optimizer)
    adapter = load_file(directory / checkpoint.ADAPTER_FILES[0])
    slots = load_file(directory / "optimizer.safetensors")
    step, trained = None, _trained(parts.model)
    found: dict[str, torch.Tensor] = {}
    for name, parameter in trained.items():
        # DoRA's magnitudes are modules in the model and plain tensors in the file.
        weights = adapter.get(name.replace(".default.", ".").replace("magnitude_vector.weight", "magnitude_vector"))
        if weights is None or f"{name}/{SLOTS[0]}" not in slots:
            raise BadCheckpoint(f"the checkpoint lacks {name} of this model")
        found[name] = weights
        safe_set_full_fp32_param(parameter, weights.float().to(parameter.device))
        for slot in SLOTS:
            safe_set_full_optimizer_state(parameter, slots[f"{name}/{slot}"].to(parameter.device), slot)
        step = slots[f"{name}/step"]
    # The working copies follow the full-precision ones only at a step, and the next step begins with them.
    with deepspeed.zero.GatheredParameters(list(trained.values()), modifier_rank=0):
        for name, parameter in trained.items():
            parameter.data.copy_(found[name])
    for state in parts.optimizer.optimizer.state.values():
        if "step" in state:
            state["step"] = step.clone() if torch.is_tensor(state["step"]) else int(step)
    saved = checkpoint.read_state(directory)["stateful_callbacks"][checkpoint.OURS]
    for group, kept in zip(parts.optimizer.optimizer.param_groups, saved["optimizer"], strict=True):
        group.update({key: tuple(value) if key == "betas" else value for key, value in kept.items()})
    parts.scheduler.load_state_dict({**parts.scheduler.state_dict(), **saved["scheduler"]})


@contextlib.contextmanager
def unchanged_engine(engine: Any, parts: checkpoint.Parts) -> Iterator[None]:
    """Steps of the engine inside the block leave the run unchanged: the learning rate is 0; moments, schedule and
    counters are restored.
    """
    inner = parts.optimizer.optimizer
    if fresh := not inner.state:
        _allocate_state(parts.optimizer)
    held = [(state, slot) for state in inner.state.values() for slot in state]
    before = [0 if fresh else copy.deepcopy(state[slot]) for state, slot in held]
    counted = {name: getattr(engine, name) for name in COUNTED}
    schedule = {k: copy.copy(v) for k, v in parts.scheduler.state_dict().items() if k != "lr_lambdas"}
    rates = [group["lr"] for group in inner.param_groups]
    for group in inner.param_groups:
        group["lr"] = 0.0
    try:
        yield
    finally:
        for (state, slot), value in zip(held, before, strict=True):
            if not torch.is_tensor(state[slot]):
                state[slot] = value
            elif fresh:
                state[slot].zero_()
            else:
                state[slot].copy_(value)
        parts.scheduler.load_state_dict({**parts.scheduler.state_dict(), **schedule})
        for group, rate in zip(inner.param_groups, rates, strict=True):
            group["lr"] = rate
        engine.__dict__.update(counted)


def _trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _step(optimizer: Any) -> float:
    return max((float(state["step"]) for state in optimizer.optimizer.state.values() if "step" in state), default=0.0)


def _allocate_state(sharded: Any) -> None:
    """Makes the optimizer allocate its moments, as its first step does: a step without gradients and with a learning
    rate of 0.
    """
    inner = sharded.optimizer
    rates = [group["lr"] for group in inner.param_groups]
    for group in inner.param_groups:
        group["lr"] = 0.0
    if hasattr(sharded, "fp32_partitioned_groups_flat"):  # ZeRO 3 gives the optimizer one shard after the other
        for index, part in enumerate(sharded.fp32_partitioned_groups_flat):
            group = inner.param_groups[sharded.sub_group_to_group_id[index]]
            group["params"] = [part]
            _step_without_gradients(inner, [part])
            group["params"] = []
    else:
        _step_without_gradients(inner, sharded.single_partition_of_fp32_groups)
        sharded._lazy_init_hp_params_optimizer_state()  # DeepSpeed's own, which its step calls as well
    for group, rate in zip(inner.param_groups, rates, strict=True):
        group["lr"] = rate


def _step_without_gradients(optimizer: torch.optim.Optimizer, parts: list[torch.Tensor]) -> None:
    for part in parts:
        part.grad = torch.zeros_like(part)
    optimizer.step()
    for part in parts:
        part.grad = None
