"""Direct preference optimization: TRL's DPOTrainer with all losses of the spec, on preference pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import DPOConfig, DPOTrainer

from ...data.rows import PreferencePairs
from ...distributed.group import Group
from ...spec.models import TrainSpec
from .common import arguments
from .pairwise import PairwiseTrainer, build_pairwise, completion, count, padded, paired


def dpo_config(spec: TrainSpec, scratch: Path, total_steps: int) -> DPOConfig:
    """TRL's configuration. Rows are already tokenized and truncated; dropout is set by the adapter only."""
    m = spec.method
    return DPOConfig(
        **arguments(spec, scratch, total_steps),
        max_length=None,
        disable_dropout=False,
        loss_type=[m.loss],
        beta=m.beta,
        label_smoothing=m.label_smoothing,
    )


class DpoMethod(PairwiseTrainer, DPOTrainer):
    """DPOTrainer with our batches and resume."""

    uses_reference = True

    def make_batch(self, tokens: PreferencePairs, rows: list[int]) -> dict[str, Any]:
        """All chosen sides, then all rejected ones."""
        sides = paired(tokens, rows)
        ids, labels, mask = padded(sides, self.processing_class.pad_token_id)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "completion_mask": completion(labels),
            "tokens": count(sides),
        }


def build(
    spec: TrainSpec, model: Any, tokenizer: Any, tokens: PreferencePairs, scratch: Path, total_steps: int, group: Group
) -> DpoMethod:
    """The trainer, ready to `train()`; `model` has its adapter."""
    return build_pairwise(DpoMethod, dpo_config(spec, scratch, total_steps), spec, model, tokenizer, tokens, group)
