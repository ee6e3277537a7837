"""Odds-ratio preference optimization: TRL's ORPOTrainer, on preference pairs. It needs no reference model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from ...data.rows import SIDES, PreferencePairs
from ...distributed.group import Group
from ...spec.models import TrainSpec
from .common import arguments
from .pairwise import PairwiseTrainer, build_pairwise, count, padded


def orpo_config(spec: TrainSpec, scratch: Path, total_steps: int) -> ORPOConfig:
    """TRL's configuration. Rows are already tokenized and truncated; dropout is set by the adapter only."""
    return ORPOConfig(
        **arguments(spec, scratch, total_steps),
        max_length=spec.hyperparameters.max_length,
        disable_dropout=False,
        beta=spec.method.beta,
    )


class OrpoMethod(PairwiseTrainer, ORPOTrainer):
    """ORPOTrainer with our batches and resume."""

    def make_batch(self, tokens: PreferencePairs, rows: list[int]) -> dict[str, Any]:
        """Chosen and rejected sides, each padded by itself; TRL joins them."""
        pairs = [tokens.sides(row) for row in rows]
        batch: dict[str, Any] = {"tokens": 0}
        for side, which in (("chosen", 0), ("rejected", 1)):
            found = [pair[which] for pair in pairs]
            ids, labels, mask = padded(found, self.processing_class.pad_token_id)
            batch |= {f"{side}_input_ids": ids, f"{side}_labels": labels, f"{side}_attention_mask": mask}
            batch["tokens"] += count(found)
        return batch

    def sequences(self, inputs: dict[str, Any], indices: list[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """All chosen sides, then all rejected ones."""
        for side in SIDES:
            parts = [inputs[f"{side}_{name}"].numpy() for name in ("input_ids", "labels", "attention_mask")]
            for index, ids, labels, mask in zip(indices, *parts, strict=True):
                yield self.tokens.row_ids[index], ids[mask == 1], labels[mask == 1]

    def take_metrics(self) -> dict[str, float]:
        """TRL's metrics of the last batch; it stores those of evaluations under `train` too when only the loss is
        computed.
        """
        found = self._stored_metrics.pop("train", {})
        return {ours: float(found[theirs][-1]) for theirs, ours in self.metric_names.items() if found.get(theirs)}


def build(
    spec: TrainSpec, model: Any, tokenizer: Any, tokens: PreferencePairs, scratch: Path, total_steps: int, group: Group
) -> OrpoMethod:
    """The trainer, ready to `train()`; `model` has its adapter."""
    return build_pairwise(OrpoMethod, orpo_config(spec, scratch, total_steps), spec, model, tokenizer, tokens, group)
