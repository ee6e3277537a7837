"""The adapter of a run: the layers it is on, PEFT's configuration for it, and its initial weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import set_seed

from ..protocol.failures import TrainingFailed, blaming
from ..spec.models import Full, Lora, TrainSpec
from .artifacts import check_adapter
from .checkpoint import ADAPTER_FILES

# The head of a reward model, which gives one number. All of its weights are trained, besides the adapter.
SCORE_HEAD = "score"
CHANGE_ADAPTER = "Change target_modules or the setting that the message names, and run the job again."


def linear_module_names(model: Any) -> list[str]:
    """Last names of all linear layers except the output head: the meaning of `all-linear`."""
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
        target_modules=linear_module_names(model) if lora.target_modules == "all-linear" else list(lora.target_modules),
        layers_to_transform=top,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        modules_to_save=[SCORE_HEAD] if reward else None,
    )


def require_modules(spec: TrainSpec, model: Any) -> None:
    """Raises TrainingFailed for a name that selects no module; PEFT would leave such a name out."""
    wanted = spec.method.adapter.target_modules
    paths = [path for path, _ in model.named_modules()]
    for name in [] if wanted == "all-linear" else wanted:
        if not any(path == name or path.endswith(f".{name}") for path in paths):
            known = ", ".join(linear_module_names(model))
            raise TrainingFailed(
                "bad_spec", f"the model has no module named {name!r}; its linear layers are {known}", CHANGE_ADAPTER
            )


def is_full_fine_tuning(spec: TrainSpec) -> bool:
    """Whether this is full fine-tuning: every weight is trained, without an adapter."""
    return isinstance(spec.method.adapter, Full)


def parameter_counts(model: Any) -> tuple[int, int]:
    """Trainable parameters, and all parameters."""
    if isinstance(model, PeftModel):
        return model.get_nb_trainable_parameters()
    return model.num_parameters(only_trainable=True), model.num_parameters()


def attach(spec: TrainSpec, model: Any, start: Path | None = None) -> Any:
    """The model with the spec's adapter on it, new and initialized by the seed, or with the weights of the adapter in
    `start`.

    For full fine-tuning the model itself is made trainable. Raises TrainingFailed when the adapter in `start` has
    another shape than the spec's.
    """
    set_seed(spec.hyperparameters.seed)
    if is_full_fine_tuning(spec):
        return model.requires_grad_(True)
    require_modules(spec, model)
    config = lora_config(spec, model)
    if config.layers_to_transform is not None and spec.parallel.strategy != "zero3":
        # With gradient checkpointing, TRL and transformers make the embedding's output require a gradient, which then
        # flows through
        # every frozen layer. Only re-entrant checkpointing needs that, and TRL uses it for zero3 only.
        model.enable_input_require_grads = _no_input_gradients
    with blaming("bad_spec", "the adapter's settings do not fit this model", CHANGE_ADAPTER):
        peft_model = get_peft_model(model, config)
    if spec.method.adapter.dora and spec.method.quantization == "int8":
        for module in peft_model.modules():
            if hasattr(module, "init_8bit_state"):
                module.register_forward_pre_hook(_restore_scales)
    if start is not None:
        _load_start(peft_model, start, spec.method.adapter)
    return peft_model


def _no_input_gradients() -> None:
    """Leaves the embedding's output without a gradient."""


def _restore_scales(layer: Any, _: Any) -> None:
    """Restores the scales of an int8 weight: on CPUs PEFT copies the weight for DoRA, and the copy has none."""
    if layer.weight.CB is not None and layer.weight.SCB is None:
        layer.weight.SCB = layer.state.SCB


def _load_start(model: PeftModel, directory: Path, lora: Lora) -> None:
    check_adapter("start", directory)
    config = json.loads((directory / ADAPTER_FILES[1]).read_text("utf-8"))
    wanted = {
        "lora_r": (lora.r, config.get("r")),
        "lora_alpha": (lora.alpha, config.get("lora_alpha")),
        "rslora": (lora.rslora, config.get("use_rslora", False)),
        "dora": (lora.dora, config.get("use_dora", False)),
    }
    for name, (ours, theirs) in wanted.items():
        if ours != theirs:
            raise _other(f"{name} is {ours} here and {theirs} there", name)
    tensors = load_file(directory / ADAPTER_FILES[0])
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    # A reward model may start from an adapter without a head. Nothing else may be missing, and nothing may be left
    # over.
    head = {name for name in expected if name.rpartition(".")[0].endswith(f".{SCORE_HEAD}")}
    if not expected.keys() - head <= tensors.keys() <= expected.keys():
        odd = sorted((expected.keys() - head) ^ (tensors.keys() - head))
        raise _other(
            f"the layers or modules differ, {odd[0] if odd else SCORE_HEAD} among them",
            "lora_layers and target_modules",
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise _other(f"{name} is {tuple(expected[name].shape)} here and {tuple(tensor.shape)} there", "model")
    # PEFT wants every tensor: a new head stays as it is.
    set_peft_model_state_dict(model, {**{name: expected[name] for name in head}, **tensors})


def _other(what: str, field: str) -> TrainingFailed:
    return TrainingFailed(
        "bad_spec",
        f"the model this run continues from has another adapter: {what}",
        f"Leave {field} out, so that it is taken from that model, or start from the base model.",
    )


@contextlib.contextmanager
def hide_quantization(model: PeftModel) -> Iterator[None]:
    """Hides from TRL that the base is quantized: TRL would round the adapter to bfloat16, and a resumed run would lose
    what it learned.
    """
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = False  # on the wrapper; the base inside keeps its own
    try:
        yield
    finally:
        del model.is_loaded_in_4bit, model.is_loaded_in_8bit
