"""Kahneman-Tversky optimization: TRL's KTOTrainer, on labeled preference data (unpaired)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from trl import KTOConfig, KTOTrainer

from ...data.rows import UnpairedRows
from ...data.tokens import IGNORED
from ...distributed.group import Group
from ...spec.models import TrainSpec
from .common import arguments
from .pairwise import PairwiseTrainer, Sequence, build_pairwise, completion, count, padded


def kto_config(spec: TrainSpec, scratch: Path, total_steps: int) -> KTOConfig:
    """TRL's configuration. Rows are already tokenized and truncated; dropout is set by the adapter only."""
    m = spec.method
    return KTOConfig(
        **arguments(spec, scratch, total_steps),
        max_length=None,
        disable_dropout=False,
        beta=m.beta,
        desirable_weight=m.desirable_weight,
        undesirable_weight=m.undesirable_weight,
    )


class KtoMethod(PairwiseTrainer, KTOTrainer):
    """KTOTrainer with our batches and resume. Rows are unpaired, so there is no reward accuracy."""

    uses_reference = True
    min_rows = 2  # the KL term pairs every prompt with the answer of another row
    metric_names = {
        "rewards/margins": "reward_margin",
        "rewards/chosen": "reward_chosen",
        "rewards/rejected": "reward_rejected",
        "kl": "kl",
    }
    longest = 0

    def make_batch(self, tokens: UnpairedRows, rows: list[int]) -> dict[str, Any]:
        """The rows, and for the KL term each prompt with the answer of the previous row of the batch, as in TRL."""
        found = [tokens.row(row) for row in rows]
        others = [
            with_answer_of(row, other, self.longest) for row, other in zip(found, found[-1:] + found[:-1], strict=True)
        ]
        batch: dict[str, Any] = {"label": torch.from_numpy(tokens.good[rows] == 1), "tokens": count(found)}
        for prefix, sequences in (("", found), ("KL_", others)):
            ids, labels, mask = padded(sequences, self.processing_class.pad_token_id)
            batch |= {f"{prefix}input_ids": ids, f"{prefix}attention_mask": mask}
            batch[f"{prefix}completion_mask"] = completion(labels)
        return batch

    def rows_measured(self, name: str, tokens: UnpairedRows, batch: np.ndarray) -> int:
        """Rewards are means over the good or the bad rows of a batch."""
        good = int(tokens.good[batch].sum())
        return {"reward_chosen": good, "reward_rejected": len(batch) - good}.get(name, len(batch))


def with_answer_of(row: Sequence, other: Sequence, longest: int) -> Sequence:
    """A row's prompt with the other row's answer, truncated to `longest` tokens."""
    ends, begins = (int(np.argmax(labels != IGNORED)) for _, labels in (row, other))
    joined = (np.concatenate([row[part][:ends], other[part][begins:]])[:longest] for part in (0, 1))
    return next(joined), next(joined)


def build(
    spec: TrainSpec, model: Any, tokenizer: Any, tokens: UnpairedRows, scratch: Path, total_steps: int, group: Group
) -> KtoMethod:
    """The trainer, ready to `train()`; `model` has its adapter."""
    trainer = build_pairwise(KtoMethod, kto_config(spec, scratch, total_steps), spec, model, tokenizer, tokens, group)
    trainer.longest = spec.hyperparameters.max_length
    return trainer
