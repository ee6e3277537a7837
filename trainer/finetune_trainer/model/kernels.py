"""Faster kernels on GPUs with the same results: Liger's, and layers compiled by torch."""

from __future__ import annotations

from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from ..protocol.failures import TrainingFailed
from ..spec.models import Hyperparameters

# Losses stay ours and TRL's, which use only the tokens in the loss.
LIGER = {"rope": True, "rms_norm": True, "swiglu": True, "cross_entropy": False, "fused_linear_cross_entropy": False}


def use_liger(model: Any, h: Hyperparameters) -> None:
    """Applies Liger's kernels to a model's layers, when the run wants them."""
    if h.liger_kernel:
        from transformers.integrations.liger import apply_liger_kernel

        apply_liger_kernel(model, LIGER)


def compile_layers(model: Any, h: Hyperparameters, **options: Any) -> int:
    """Compiles each of a model's layers with torch, when the run wants it, once for all row lengths; returns how many.

    Equal layers share the compiled code. The rest of the model, with the hooks of adapters, stays Python. Raises
    TrainingFailed when the model has no layers of the expected class.
    """
    if not h.torch_compile:
        return 0
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise TrainingFailed(
            "bad_spec", "this model has no layers that can be compiled one by one", "Leave torch_compile out."
        )
    for layer in layers:
        layer.compile(dynamic=True, **options)
    return len(layers)
