"""Checkpoints without pickles: weights, optimizer, random and trainer state as safetensors and JSON, renamed into
place.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from ..data.tool_template import TEMPLATE_FILE
from ..protocol.failures import BadCheckpoint

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
# Only in checkpoints of runs with `keep_best`: the best weights, when they are not the checkpoint's own.
BEST_FILE = "best.safetensors"
# Needed only to resume.
RESUME_FILES = ("trainer_state.json", "optimizer.safetensors", "rng.json", BEST_FILE)
# The weights of a full fine-tuning. The files that describe the model and its tokenizer are copied from the base.
MODEL_FILE = "model.safetensors"
CONFIG_FILES = (
    *("config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"),
)

OURS = "finetune_trainer"


@dataclass
class Parts:
    """The live objects that a checkpoint saves."""

    model: Any
    optimizer: torch.optim.Optimizer
    scheduler: Any


@dataclass
class Contents:
    """What is written: full tensors on the CPU by name, the optimizer's groups and the schedule as JSON values.

    `config` is the adapter's, or None for full fine-tuning, whose `weights` are the full model's. `described` is the
    model's config.json where it differs from its base's, as for a reward model.
    """

    weights: dict[str, torch.Tensor]
    config: dict[str, Any] | None
    optimizer: dict[str, torch.Tensor]
    groups: list[dict[str, Any]]
    schedule: dict[str, Any]
    described: dict[str, Any] | None = None


def collect(parts: Parts) -> Contents:
    """The live state as full tensors. With sharded tensors, all ranks must call it together."""
    tensors, groups = _flatten(parts)
    schedule = {k: v for k, v in parts.scheduler.state_dict().items() if k != "lr_lambdas"}
    if not isinstance(parts.model, PeftModel):
        weights = {n: whole(t) for n, t in _own_weights(parts.model)}
        # Only a model that generates text is described by its base's own file.
        described = None if parts.model.can_generate() else json.loads(parts.model.config.to_json_string())
        return Contents(weights, None, tensors, groups, schedule, described)
    adapter = {n: whole(t) for n, t in get_peft_model_state_dict(parts.model, save_embedding_layers=False).items()}
    return Contents(adapter, parts.model.peft_config["default"].to_dict(), tensors, groups, schedule)


def _own_weights(model: Any) -> list[tuple[str, torch.Tensor]]:
    """The model's weights by name; a tensor with several names (a head tied to the embedding) has the first one."""
    known: set[int] = set()
    return [
        (name, tensor)
        for name, tensor in model.state_dict(keep_vars=True).items()
        if id(tensor) not in known and not known.add(id(tensor))
    ]


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor on the CPU; a sharded one is gathered."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous()


def distribute_like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A full tensor, sharded as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def write_checkpoint(
    target: Path,
    contents: Contents,
    state: dict[str, Any],
    base: dict[str, Any],
    rngs: list[dict[str, Any]],
    best: Path | None = None,
    beside: Path | None = None,
    template: str | None = None,
) -> Path:
    """Writes a checkpoint beside `target` and renames it, so that a directory of that name is always complete.

    `rngs` are the random states of all ranks by rank, `best` the weights of a better step to include, and `beside` the
    directory of the base, whose config and tokenizer a full model needs, and `template` the chat template when it is
    not the base's.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        if contents.config is None:
            _write_model(temporary, contents, beside)
        else:
            _write_adapter(temporary, contents, base)
        if template is not None:
            (temporary / TEMPLATE_FILE).write_text(template, "utf-8")
        save_file(contents.optimizer, temporary / "optimizer.safetensors")
        # transformers reads this file too and refuses unknown fields, except under `stateful_callbacks`.
        ours = {**state["stateful_callbacks"][OURS], "optimizer": contents.groups, "scheduler": contents.schedule}
        _write_json(temporary / "trainer_state.json", {**state, "stateful_callbacks": {OURS: ours}})
        _write_json(temporary / "rng.json", {**rngs[0], "ranks": rngs[1:]})
        if best is not None:
            shutil.copyfile(best, temporary / BEST_FILE)
        for path in temporary.iterdir():
            _fsync(path)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _fsync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write_adapter(directory: Path, contents: Contents, base: dict[str, Any]) -> None:
    """The two adapter files. The base is named so that other programs find it: by its repository and the commit if it
    has one, else as in the spec, and never by a path of this machine.
    """
    hub = base.get("hub")
    name, revision = (hub["repo"], hub["revision"]) if hub else (base["id"], base["revision"])
    save_file(contents.weights, directory / ADAPTER_FILES[0], metadata={"format": "pt"})
    config = {k: sorted(v) if isinstance(v, set) else v for k, v in contents.config.items()}
    config |= {"base_model_name_or_path": name, "revision": revision, "inference_mode": True}
    _write_json(directory / ADAPTER_FILES[1], config)


def _write_model(directory: Path, contents: Contents, beside: Path) -> None:
    """A model that loads by itself: the weights, and the base's files for config, tokenizer and chat template."""
    save_file(contents.weights, directory / MODEL_FILE, metadata={"format": "pt"})
    for name in CONFIG_FILES:
        if (beside / name).is_file():
            shutil.copyfile(beside / name, directory / name)
    if contents.described is not None:
        _write_json(directory / "config.json", contents.described)


def files_of(directory: Path) -> tuple[str, ...]:
    """The names of a checkpoint's files, in order."""
    return tuple(sorted(path.name for path in directory.iterdir()))


def result_files(directory: Path) -> tuple[str, ...]:
    """The files that are the adapter or the model, which is all that inference needs."""
    return tuple(name for name in files_of(directory) if name not in RESUME_FILES)


def weights_file(directory: Path) -> Path:
    """The file with a checkpoint's adapter or model weights."""
    model = directory / MODEL_FILE
    return model if model.is_file() else directory / ADAPTER_FILES[0]


def load_weights(directory: Path, model: Any) -> None:
    """Loads the weights of a checkpoint into a model of the same shape: all of them, or those of its adapter."""
    if isinstance(model, PeftModel):
        load_adapter(directory, model)
        return
    if not (directory / MODEL_FILE).is_file():
        raise BadCheckpoint("the checkpoint holds an adapter, and this job is a full fine-tuning")
    own = dict(_own_weights(model))
    with safe_open(directory / MODEL_FILE, framework="pt") as file:
        if set(file.keys()) != set(own):
            raise BadCheckpoint("the checkpoint's model has other layers than this job's")
        for name, parameter in own.items():
            tensor = file.get_tensor(name)
            if tensor.shape != parameter.shape:
                raise BadCheckpoint(f"{name} has another shape in the checkpoint than in this job's model")
            parameter.data.copy_(tensor)


def load_adapter(directory: Path, model: Any) -> None:
    """Loads the adapter weights of a checkpoint into a model with an adapter of the same shape."""
    tensors = load_file(directory / ADAPTER_FILES[0])
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in expected.items()}:
        raise BadCheckpoint("the checkpoint's adapter has other layers or another rank than this job's")
    set_peft_model_state_dict(
        model, {name: distribute_like(tensor, expected[name]) for name, tensor in tensors.items()}
    )


def load_optimizer(directory: Path, parts: Parts) -> None:
    """Restores optimizer and learning rate schedule, by parameter name."""
    saved = read_state(directory)["stateful_callbacks"][OURS]
    names = _names(parts)
    live_parameters = [p for group in parts.optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {index: {} for index in range(len(names))}
    index_of = {name: index for index, name in enumerate(names)}
    with safe_open(directory / "optimizer.safetensors", framework="pt") as file:
        keys = file.keys()  # not a dict: it cannot be iterated itself
        for key in keys:
            name, _, slot = key.rpartition("/")
            if name not in index_of:
                raise BadCheckpoint(f"the checkpoint's optimizer has {name}, this model does not")
            tensor, like = file.get_tensor(key), live_parameters[index_of[name]]
            if tensor.dtype == torch.int64 and not tensor.dim():
                state[index_of[name]][slot] = int(tensor)  # a count that the optimizer keeps as a number
            else:
                state[index_of[name]][slot] = distribute_like(tensor, like) if tensor.shape == like.shape else tensor
    if not all(state.values()) and not isinstance(parts.optimizer, torch.optim.SGD):
        raise BadCheckpoint("the checkpoint's optimizer lacks a parameter of this model")
    groups = []
    start = 0
    for group, live in zip(saved["optimizer"], parts.optimizer.param_groups, strict=True):
        count = len(live["params"])
        groups.append({**group, "params": list(range(start, start + count))})
        if "betas" in group:
            groups[-1]["betas"] = tuple(group["betas"])
        start += count
    parts.optimizer.load_state_dict({"state": state, "param_groups": groups})
    parts.scheduler.load_state_dict({**parts.scheduler.state_dict(), **saved["scheduler"]})


def read_state(directory: Path) -> dict[str, Any]:
    """The trainer_state.json of a checkpoint."""
    return json.loads((directory / "trainer_state.json").read_text("utf-8"))


def _names(parts: Parts) -> list[str]:
    by_id = {id(p): name for name, p in parts.model.named_parameters()}
    return [by_id[id(p)] for group in parts.optimizer.param_groups for p in group["params"]]


def _slots(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The state of one parameter; bitsandbytes wraps its quantized state in one more dictionary."""
    for slot, value in state.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield slot, value


def _flatten(parts: Parts) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Optimizer state as named tensors, and its parameter groups (without parameters) as JSON values."""
    state = parts.optimizer.state_dict()
    tensors = {}
    known: set[int] = set()
    for index, name in enumerate(_names(parts)):
        for slot, value in _slots(state["state"].get(index, {})):
            tensor = whole(torch.as_tensor(value))
            # bitsandbytes shares its tables between parameters; a safetensors file shares nothing.
            shared = tensor.data_ptr() in known
            known.add(tensor.data_ptr())
            tensors[f"{name}/{slot}"] = tensor.clone() if shared else tensor
    groups = [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]
    return tensors, groups


def rng_state() -> dict[str, Any]:
    """The states of the random generators of Python, NumPy and torch as JSON values."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "torch": base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode(),
        # Only of this process's GPU: asking for the others would take memory on each of them.
        "cuda": [base64.b64encode(torch.cuda.get_rng_state().numpy().tobytes()).decode()]
        if torch.cuda.is_available()
        else [],
    }


def load_rng(directory: Path, rank: int = 0) -> None:
    """Restores the random generators of a rank from rng.json; a rank that is not in the checkpoint keeps its own."""
    saved = json.loads((directory / "rng.json").read_text("utf-8"))
    states = [saved, *saved.get("ranks", [])]
    if rank >= len(states):
        return
    set_rng(states[rank])


def set_rng(mine: dict[str, Any]) -> None:
    """Sets the random generators to states of `rng_state`."""
    version, words, gauss = mine["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = mine["numpy"]
    np.random.set_state((name, np.asarray(keys, np.uint32), position, has_gauss, cached))
    torch.set_rng_state(_bytes(mine["torch"]))
    if torch.cuda.is_available() and mine["cuda"]:
        torch.cuda.set_rng_state(_bytes(mine["cuda"][0]))


def _bytes(encoded: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(encoded)), dtype=torch.uint8)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=None, separators=(",", ":")) + "\n", "utf-8")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(directory: Path) -> None:
    """Deletes a checkpoint that is no longer needed here, since the server has it."""
    shutil.rmtree(directory, ignore_errors=True)
