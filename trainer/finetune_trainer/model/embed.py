"""Embeddings of texts by a language model: the mean of its last hidden states."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .score import batches_by_length, causal_model

# Padded tokens of one forward pass; other requests wait for as long as it takes.
BATCH_TOKENS = 1024


def embedding_batches(inputs: list[list[int]]) -> list[list[int]]:
    """The inputs, by index, in batches of similar lengths that are short enough to run between two steps."""
    lengths = np.asarray([len(one) for one in inputs])
    return [batch.tolist() for batch in batches_by_length(lengths, 64, BATCH_TOKENS)]


@torch.inference_mode()
def embed(model: Any, inputs: list[list[int]], pad_id: int) -> list[np.ndarray]:
    """One float32 vector for each input: the mean over its tokens."""
    causal = causal_model(model)
    device = next(causal.parameters()).device
    longest = max(len(one) for one in inputs)
    # Padded on the right: causal attention of the real tokens never sees it.
    ids = torch.tensor([one + [pad_id] * (longest - len(one)) for one in inputs], device=device)
    hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return [hidden[row, : len(one)].float().mean(0).cpu().numpy() for row, one in enumerate(inputs)]
