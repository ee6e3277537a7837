"""Kernels that compute the same faster on GPUs: Liger's, and layers compiled by torch."""

from __future__ import annotations

from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from ..protocol.failures import TrainingFailed
from ..spec.models import Hyperparameters

# Losses stay ours and TRL's: they look at the tokens that count alone.
LIGER = {"rope": True, "rms_norm": True, "swiglu": True, "cross_entropy": False, "fused_linear_cross_entropy": False}


def use_liger(model: Any, h: Hyperparameters) -> None:
    """Puts Liger's kernels into a model's layers, where the run wants them."""
    if h.liger_kernel:
        from transformers.integrations.liger import apply_liger_kernel

        apply_liger_kernel(model, LIGER)


def compile_layers(model: Any, h: Hyperparameters, **options: Any) -> int:
    """Has torch compile each of a model's layers where the run wants it, once for all lengths of rows; returns how many.

    Layers alike share what was compiled, and what lies around them, adapters' hooks included, stays Python. Raises TrainingFailed where a
    model shows no layers.
    """
    if not h.torch_compile:
        return 0
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise TrainingFailed(
            "bad_spec", "this model shows no layers that could be compiled one by one", "Leave torch_compile out."
        )
    for layer in layers:
        layer.compile(dynamic=True, **options)
    return len(layers)
