"""The optimizers of a training: their name and settings in transformers, and the memory of their state."""

from __future__ import annotations

from typing import Any

import torch

# transformers' name and settings of an optimizer. AdamW is its default.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adamw_8bit": {"optim": "adamw_bnb_8bit"},
    "adafactor": {"optim": "adafactor"},
    "lion": {"optim": "lion_32bit", "adam_beta2": 0.99},
    "sgd": {"optim": "sgd"},
}
# bitsandbytes keeps the state of smaller tensors in 32 bits.
SMALLEST_IN_8_BITS = 4096


def state_like(optimizer: Any, parameter: torch.Tensor) -> list[torch.Tensor]:
    """Tensors with the size of the state that `optimizer` will keep for a parameter, filled."""
    inner = getattr(optimizer, "optimizer", optimizer)
    name, bits = type(inner).__name__, getattr(getattr(inner, "args", None), "optim_bits", 32)
    if name == "SGD":
        return []
    if name == "Adafactor" and parameter.dim() >= 2:
        return [parameter.new_zeros(parameter.shape[:-1]).fill_(0), parameter.new_zeros(parameter.shape[-1]).fill_(0)]
    if bits == 8 and parameter.numel() >= SMALLEST_IN_8_BITS:
        return [torch.zeros_like(parameter, dtype=torch.uint8).fill_(0) for _ in range(2)]
    return [torch.zeros_like(parameter).fill_(0) for _ in range(1 if name in ("Lion", "Adafactor") else 2)]
