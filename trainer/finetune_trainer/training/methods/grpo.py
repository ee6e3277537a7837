"""Group-relative policy optimization: TRL's GRPOTrainer on completions of the model, which the server grades."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from trl import GRPOConfig, GRPOTrainer

from ...data.rows import PromptRows
from ...data.tokens import Tokens
from ...data.tool_calls.answers import Answer, AnswerReader
from ...distributed.group import Group
from ...model.adapter import is_full_fine_tuning
from ...model.generate import greedy
from ...model.load import end_token_ids
from ...spec.models import TrainSpec
from ..grade import Graded, Grading
from ..guard import Guard
from .common import ResumableTrainerMixin, arguments, ready
from .pairwise import RowIndexDataset, reference_copy, score_completions_only

# TRL's metrics by our names.
METRIC_NAMES = {
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "groups_alike",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "completions_cut",
    "grader_errors": "grader_errors",
}


def grpo_config(spec: TrainSpec, scratch: Path, total_steps: int) -> GRPOConfig:
    """TRL's configuration. A row is a group of completions, so TRL's batches are larger; each micro-batch generates its
    own.
    """
    m = spec.method
    shared = arguments(spec, scratch, total_steps)
    shared["per_device_train_batch_size"] *= m.num_generations
    return GRPOConfig(
        **shared,
        loss_type=m.loss_type,
        # Dr. GRPO leaves out the scaling that weighs easy and hard questions differently.
        scale_rewards="none" if m.loss_type == "dr_grpo" else "group",
        beta=m.beta,
        num_generations=m.num_generations,
        steps_per_generation=1,
        max_completion_length=m.max_completion_length,
        temperature=m.temperature,
    )


class GrpoMethod(ResumableTrainerMixin, GRPOTrainer):
    """GRPOTrainer with our batches and resume. For TRL a prompt is the index of its row; this class
    looks the row up.
    """

    equal_batches = True
    reports_first_batch = False  # completions are generated while training
    selection_metric = ("eval/reward", -1)
    grading: Callable[[list[dict[str, Any]], list[Answer]], Graded] | None = None
    tokens: PromptRows
    _answers: AnswerReader | None = None

    def rows_at_once(self) -> int:
        """Prompts of a micro-batch; TRL counts completions."""
        return self.args.per_device_train_batch_size // self.num_generations

    def graded(self, items: list[dict[str, Any]], outputs: list[Answer]) -> Graded:
        """The rewards of completions, from the server."""
        self.grading = self.grading or Grading(self.hooks.home)
        return self.grading(items, outputs)

    @property
    def generated_tokens(self) -> int:
        """The max completion length."""
        return self.max_completion_length

    def dry_run(self, rows: list[int]) -> None:
        """A step with completions of the max length, which are not graded."""
        config, grading = self.generation_config, self.grading
        self.generation_config = copy.deepcopy(config)
        self.generation_config.min_new_tokens = self.max_completion_length
        self.grading = lambda _, outputs: Graded([0.0] * len(outputs), 0)
        try:
            super().dry_run(rows)
        finally:
            self.generation_config, self.grading = config, grading

    def sample_details(self, rows: list[dict[str, Any]], outputs: list[Answer]) -> list[dict[str, Any]]:
        """The rewards of samples."""
        return [{"reward": reward} for reward in self.graded([row["item"] for row in rows], outputs).rewards]

    @property
    def _reader(self) -> AnswerReader:
        self._answers = self._answers or AnswerReader(self.processing_class)
        return self._answers

    def _read(self, row: int, ids: Any) -> Answer:
        return self._reader.read([int(token) for token in ids], {"tools": self.tokens.tools[row]})

    def _tokenize_prompts(self, prompts: list[int]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.tokens.row(row)[0].tolist() for row in prompts], None, {}

    def _calculate_rewards(
        self, inputs: list[dict[str, int]], prompts: list[int], completions: list[str], completion_ids_list: Any
    ) -> torch.Tensor:
        answers = [self._read(row, ids) for row, ids in zip(prompts, completion_ids_list, strict=True)]
        found = self.graded([self.tokens.items[row] for row in prompts], answers)
        self._metrics["train"]["grader_errors"].append(found.errors / len(found.rewards))
        return torch.tensor(found.rewards, dtype=torch.float32, device=self.accelerator.device)[:, None]

    def _prepare_inputs(self, batch: list[dict[str, int]]) -> dict[str, Any]:
        return GRPOTrainer._prepare_inputs(self, batch)  # what ResumableTrainerMixin counts there is not generated yet

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss over the groups of the micro-batch."""
        self._step_tokens += int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        loss = super().compute_loss(model, inputs)
        found = self._metrics["train"]
        self.meter.add({ours: float(found[theirs][-1]) for theirs, ours in METRIC_NAMES.items() if found.get(theirs)})
        found.clear()
        for log in (self._logs["prompt"], self._logs["completion"], self._logs["advantages"]):
            log.clear()
        return loss

    def evaluate_rows(self, tokens: Tokens) -> dict[str, float]:
        """The mean reward of greedy completions."""
        prompts = [tokens.row(row)[0].tolist() for row in range(len(tokens))]
        answers = dict(
            greedy(
                self.model,
                prompts,
                max_new_tokens=self.max_completion_length,
                batch_size=self.args.per_device_train_batch_size,
                end_ids=end_token_ids(self.model, self.processing_class),
                pad_id=self.processing_class.pad_token_id,
            )
        )
        outputs = [self._reader.read(answers[row], {"tools": tokens.tools[row]}) for row in range(len(tokens))]
        found = self.graded(tokens.items, outputs)
        return {
            "eval/reward": float(np.mean(found.rewards)),
            "eval/completion_length": float(np.mean([len(ids) for ids in answers.values()])),
            "eval/grader_errors": found.errors / len(outputs),
        }


def build(
    spec: TrainSpec, model: Any, tokenizer: Any, tokens: PromptRows, scratch: Path, total_steps: int, group: Group
) -> GrpoMethod:
    """The trainer, ready to `train()`; `model` has its adapter, if any."""
    score_completions_only()
    generations = spec.method.num_generations

    def collate(rows: list[dict[str, int]]) -> list[dict[str, int]]:
        return [{"prompt": row["row"]} for row in rows for _ in range(generations)]

    def reward(**_: Any) -> list[float]:
        raise NotImplementedError("rewards come from the server, see _calculate_rewards")

    args = grpo_config(spec, scratch, total_steps)
    second = is_full_fine_tuning(spec) and args.beta > 0
    if second:
        args.beta = 0.0  # TRL would read the reference from disk again
    trainer = GrpoMethod(
        model=model,
        reward_funcs=reward,
        args=args,
        train_dataset=RowIndexDataset(pa.table({"row": np.arange(len(tokens))})),
        processing_class=tokenizer,
    )
    trainer.data_collator = collate
    if second:
        trainer.beta = args.beta = spec.method.beta
        trainer.ref_model = reference_copy(model)
    if spec.start is None and "ref" in getattr(trainer.model, "peft_config", {}):
        # As with other methods: a new adapter changes nothing yet, so the reference is the model without it.
        trainer.model.delete_adapter("ref")
    ready(trainer, tokens, spec, group)
    trainer.guard = Guard(compares=False)
    return trainer
