"""A reward model: TRL's RewardTrainer on preference pairs, over the base with a head that gives one number."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from ...data.rows import PreferencePairs
from ...distributed.group import Group
from ...model.adapter import SCORE_HEAD
from ...protocol.failures import ModelLoad
from ...spec.models import TrainSpec
from .common import arguments
from .pairwise import PairwiseTrainer, build_pairwise, completion, count, padded, paired

# Attributes that loading leaves on a quantized model, for code that asks whether it is one.
LOADING_ATTRIBUTES = (
    "is_quantized",
    "is_loaded_in_4bit",
    "is_loaded_in_8bit",
    "quantization_method",
    "hf_quantizer",
    "hf_device_map",
)


def reward_config(spec: TrainSpec, scratch: Path, total_steps: int) -> RewardConfig:
    """TRL's configuration. Rows are already tokenized and truncated; dropout is set by the adapter only."""
    return RewardConfig(
        **arguments(spec, scratch, total_steps),
        max_length=None,
        disable_dropout=False,
        center_rewards_coefficient=spec.method.center or None,
    )


def scoring_model(causal: Any, pad_id: int, seed: int) -> Any:
    """A language model's layers with a new head of one output, initialized by the seed. Raises ModelLoad.

    The layers are the given ones, however they were loaded and quantized; nothing is read again.
    """
    config = copy.deepcopy(causal.config)
    config.num_labels = 1
    config.get_text_config().pad_token_id = pad_id
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise ModelLoad(f"a model of type {config.model_type} cannot become a reward model") from error
    empty = getattr(model, SCORE_HEAD, None)
    if not isinstance(empty, torch.nn.Linear):
        raise ModelLoad(f"a model of type {config.model_type} cannot become a reward model: its head is not one layer")
    model.config.architectures = [type(model).__name__]
    setattr(model, model.base_model_prefix, causal.base_model)
    head = torch.nn.Linear(empty.in_features, 1, bias=empty.bias is not None)
    std = getattr(config.get_text_config(), "initializer_range", 0.02)
    with torch.no_grad():
        head.weight.normal_(0.0, std, generator=torch.Generator().manual_seed(seed))
    setattr(model, SCORE_HEAD, head.to(causal.device, causal.dtype))
    for mark in LOADING_ATTRIBUTES:
        if mark in vars(causal):
            setattr(model, mark, getattr(causal, mark))
    return model.eval()


class RewardMethod(PairwiseTrainer, RewardTrainer):
    """RewardTrainer with our batches and resume."""

    generates_text = False
    metric_names = {"accuracy": "reward_accuracy", "margin": "reward_margin", "mean_reward": "mean"}

    def make_batch(self, tokens: PreferencePairs, rows: list[int]) -> dict[str, Any]:
        """All chosen sides, then all rejected ones."""
        sides = paired(tokens, rows)
        ids, _, mask = padded(sides, self.processing_class.pad_token_id)
        return {"input_ids": ids, "attention_mask": mask, "tokens": count(sides)}

    def sequences(self, inputs: dict[str, Any], indices: list[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """As for other pairs. The score is of the whole sequence, so the labels are the row's, those of the answer."""
        _, labels, _ = padded(paired(self.tokens, indices), self.processing_class.pad_token_id)
        yield from super().sequences({**inputs, "completion_mask": completion(labels)}, indices)

    def take_metrics(self) -> dict[str, float]:
        """TRL gives the mean over both sides and the margin; the means of the sides follow, since both have as many
        rows.
        """
        values = super().take_metrics()
        mean, half = values.pop("mean"), values["reward_margin"] / 2
        return {**values, "reward_chosen": mean + half, "reward_rejected": mean - half}


def build(
    spec: TrainSpec, model: Any, tokenizer: Any, tokens: PreferencePairs, scratch: Path, total_steps: int, group: Group
) -> RewardMethod:
    """The trainer, ready to `train()`; `model` has its head, and its adapter if any."""
    return build_pairwise(
        RewardMethod, reward_config(spec, scratch, total_steps), spec, model, tokenizer, tokens, group
    )
