"""How many tokens an endpoint keeps in memory, and how long its queue takes."""

from __future__ import annotations

import collections
import math
from typing import Any

import torch

# Memory for the keys and values of running answers on a CPU, beside the model's own.
CPU_CACHE_BYTES = 1024**3
GPU_CACHE_FRACTION = 0.8
RECENT = 64
LONGEST_WAIT_S = 60


def cache_tokens(model: Any) -> int:
    """Tokens whose keys and values fit into memory."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    each = 2 * config.num_hidden_layers * heads * size * next(model.parameters()).element_size()
    room = CPU_CACHE_BYTES
    if next(model.parameters()).is_cuda:
        room = int(torch.cuda.mem_get_info()[0] * GPU_CACHE_FRACTION)
    return room // each


class Speed:
    """Answers per second, from those that ended last."""

    def __init__(self) -> None:
        self._ends: collections.deque[float] = collections.deque(maxlen=RECENT)

    def ended(self, now: float) -> None:
        """Counts an answer that ended at `now`, in seconds."""
        self._ends.append(now)

    def wait_for(self, answers: int) -> int:
        """Seconds until that many answers have ended at the recent speed, from 1 to LONGEST_WAIT_S."""
        took = self._ends[-1] - self._ends[0] if len(self._ends) > 1 else 0.0
        each = took / (len(self._ends) - 1) if took > 0 else 1.0
        return max(1, min(LONGEST_WAIT_S, math.ceil(each * answers)))
