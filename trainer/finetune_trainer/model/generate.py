"""Greedy answers for many prompts at once, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from .score import batches_by_length, causal_model, evaluation_mode


@torch.no_grad()
def greedy(
    model: Any,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    end_ids: set[int],
    pad_id: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, list[int]]]:
    """Yields `(index, new token ids)` for every prompt as batches finish; the end token is not part of the answer."""
    lengths = np.asarray([len(p) for p in prompts])
    with evaluation_mode(model):
        for batch in batches_by_length(lengths, batch_size):
            answers = _greedy_batch(model, [prompts[i] for i in batch], max_new_tokens, end_ids, pad_id, should_stop)
            if should_stop():
                return
            yield from zip((int(i) for i in batch), answers, strict=True)


def _greedy_batch(
    model: Any, prompts: list[list[int]], limit: int, end_ids: set[int], pad_id: int, should_stop: Callable[[], bool]
) -> list[list[int]]:
    """Left-padded batch decoding; a row leaves the batch when it has ended, so that long answers do not delay it."""
    causal = causal_model(model)
    # Sharded weights are gathered only in the call of the outermost module.
    call = model if getattr(model, "answers_when_called", False) else causal
    device = next(causal.parameters()).device
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (longest - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=causal.config)
    answers: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    for _ in range(limit):
        logits = call(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = logits.argmax(-1).tolist()
        keep = [i for i, token in enumerate(chosen) if token not in end_ids]
        for i in keep:
            answers[alive[i]].append(chosen[i])
        if not keep or should_stop():
            break
        rows = torch.tensor(keep, device=device)
        if len(keep) < len(alive):
            cache.batch_select_indices(rows)
            mask, positions = mask[rows], positions[rows]
            alive = [alive[i] for i in keep]
        ids = torch.tensor([[chosen[i]] for i in keep], device=device)
        mask = torch.cat([mask, mask.new_ones(len(keep), 1)], 1)
        positions = positions[:, -1:] + 1
    return answers
