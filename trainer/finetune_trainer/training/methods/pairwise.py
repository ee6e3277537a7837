"""What methods that compare answers share: TRL's own losses over our batches, and its metrics under our names."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from trl.trainer import utils as trl_utils

from ...data.rows import PreferencePairs
from ...data.tokens import IGNORED, Tokens
from ...distributed.group import Group
from ...model.adapter import is_full_fine_tuning
from ...model.score import batches_by_length, evaluation_mode, pad_right
from ...spec.models import TrainSpec
from .common import ResumableTrainerMixin, ready
from .shared_prompts import SharedPrompts

Sequence = tuple[np.ndarray, np.ndarray]


class RowIndexDataset(Dataset):
    """A dataset of row indices for TRL: the tokenized rows are looked up when a batch is collated."""

    def map(self, *_: Any, **__: Any) -> RowIndexDataset:
        """Nothing is left to prepare."""
        return self


class PairwiseTrainer(ResumableTrainerMixin):
    """A base before a TRL trainer whose loss compares answers. TRL gathers from all ranks, so each
    needs as many rows.
    """

    equal_batches = True
    evaluates_together = True
    uses_reference = False  # whether the loss needs the model the run started from
    shared: SharedPrompts
    metric_names = {
        "rewards/accuracies": "reward_accuracy",
        "rewards/margins": "reward_margin",
        "rewards/chosen": "reward_chosen",
        "rewards/rejected": "reward_rejected",
    }

    def make_batch(self, tokens: Any, rows: list[int]) -> dict[str, Any]:
        """The batch of these rows as TRL's loss takes it, and `tokens`: its tokens without padding."""
        raise NotImplementedError

    def sequences(self, inputs: dict[str, Any], indices: list[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Each sequence of the batch; with pairs all chosen sides come first, then all rejected ones."""
        ids, mask = inputs["input_ids"].numpy(), inputs["attention_mask"].numpy() == 1
        answers = inputs["completion_mask"].numpy() == 1
        for at, row in enumerate(ids):
            labels = np.where(answers[at], row, IGNORED)
            yield self.tokens.row_ids[indices[at % len(indices)]], row[mask[at]], labels[mask[at]]

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def take_metrics(self) -> dict[str, float]:
        """TRL's metrics of the last batch, over all ranks, by our names."""
        found = self._metrics["train" if self.model.training else "eval"]
        values = {ours: float(found[theirs][-1]) for theirs, ours in self.metric_names.items() if found.get(theirs)}
        found.clear()
        return values

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss: a mean over the rows of the micro-batch."""
        self._step_tokens += inputs.pop("tokens")
        with self.shared():
            loss = super().compute_loss(model, inputs)
        self.meter.add(self.take_metrics())
        return loss

    def evaluate_rows(self, tokens: Tokens) -> dict[str, float]:
        """The method's loss over rows and the means of its metrics. All ranks take all rows, so none waits and all
        agree.
        """
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        with torch.no_grad(), evaluation_mode(self.model), self.shared():
            for batch in batches_by_length(tokens.lengths(), self.args.per_device_train_batch_size):
                inputs = self._prepare_inputs(self.make_batch(tokens, batch.tolist()))
                inputs.pop("tokens")
                loss = super().compute_loss(self.model, inputs)
                for name, value in {"loss": float(loss), **self.take_metrics()}.items():
                    weight = self.rows_measured(name, tokens, batch)
                    sums[name][0] += value * weight
                    sums[name][1] += weight
        means = {name: total / weight for name, (total, weight) in sums.items() if weight}
        if {"reward_chosen", "reward_rejected"} <= means.keys():
            means["reward_margin"] = means["reward_chosen"] - means["reward_rejected"]
        return {f"eval/{name}": value for name, value in means.items()}

    def rows_measured(self, name: str, tokens: Any, batch: np.ndarray) -> int:
        """The number of rows in TRL's mean of this metric."""
        return len(batch)


def score_completions_only() -> None:
    """Makes TRL compute logits of completions only on CPUs too: the same numbers, several times as fast.

    TRL does so on GPUs. Elsewhere it scores prompts and padding too, for devices that compile a graph for each shape.
    """
    if hasattr(trl_utils, "_use_triton"):  # newer TRL; what else reads it imports it from another module
        trl_utils._use_triton = lambda _: True


def padded(rows: list[Sequence], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, labels and attention mask of rows as three (rows, longest) tensors, padded on the right."""
    ids, labels = pad_right(rows, pad_id)
    lengths = torch.tensor([len(row_ids) for row_ids, _ in rows])
    return ids, labels, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


def paired(tokens: PreferencePairs, rows: list[int]) -> list[Sequence]:
    """The sides of these rows, all chosen ones, then all rejected ones, as TRL takes them."""
    chosen, rejected = zip(*(tokens.sides(row) for row in rows), strict=True)
    return [*chosen, *rejected]


def completion(labels: torch.Tensor) -> torch.Tensor:
    """TRL's completion mask: 1 for a token of the answer that is in the loss."""
    return (labels != IGNORED).long()


def count(rows: list[Sequence]) -> int:
    """Tokens of rows."""
    return sum(len(ids) for ids, _ in rows)


def reference_copy(model: Any) -> Any:
    """The reference of full fine-tuning: a copy of the model as it is now. With an adapter, the reference is the model
    without it.
    """
    return copy.deepcopy(model).requires_grad_(False).eval()


def build_pairwise(
    kind: type[PairwiseTrainer], config: Any, spec: TrainSpec, model: Any, tokenizer: Any, tokens: Any, group: Group
) -> PairwiseTrainer:
    """A trainer of this class, ready to `train()`; `model` has its adapter."""
    score_completions_only()
    reference = {"ref_model": reference_copy(model)} if kind.uses_reference and is_full_fine_tuning(spec) else {}
    trainer = kind(
        model=model,
        args=config,
        data_collator=list,  # replaced below: it needs the trainer
        train_dataset=RowIndexDataset(pa.table({"row": np.arange(len(tokens))})),
        processing_class=tokenizer,
        **reference,
    )

    def collate(rows: list[dict[str, int]]) -> dict[str, Any]:
        indices = [row["row"] for row in rows]
        return {**trainer.make_batch(tokens, indices), "rows": torch.tensor(indices)}

    trainer.data_collator = collate
    if spec.start is None and "ref" in getattr(trainer.model, "peft_config", {}):
        # TRL copies a given adapter as the reference. A new adapter changes nothing yet: the reference is the model
        # with its adapter disabled, which takes no memory. A run that continues from a fine-tuned model has its copy.
        trainer.model.delete_adapter("ref")
    # The noise of NEFTune depends on the length of a sequence.
    trainer.shared = SharedPrompts(trainer.model, allowed=spec.hyperparameters.neftune_alpha is None)
    return ready(trainer, tokens, spec, group)
