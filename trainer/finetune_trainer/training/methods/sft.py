"""Supervised fine-tuning: TRL's SFTTrainer with a mean loss over the tokens in the loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from ...data.tokens import IGNORED, Tokens
from ...distributed.group import Group
from ...model.score import pad_right, score, score_rows, score_when_called
from ...spec.models import TrainSpec
from ..packing import Packs, joined_rows, pad_positions, split_rows
from .common import ResumableTrainerMixin, arguments, ready


def sft_config(spec: TrainSpec, scratch: Path, total_steps: int) -> SFTConfig:
    """TRL's configuration. Rows are already tokenized and truncated."""
    shared = arguments(spec, scratch, total_steps)
    return SFTConfig(**shared, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})


def as_dataset(tokens: Tokens) -> Dataset:
    """The rows as an Arrow table that shares the arrays. A row without loss comes last: the filler."""
    offsets = pa.array(tokens.starts.astype("int64"))
    column = {}
    arrays = [("input_ids", tokens.ids, 0), ("labels", tokens.labels, IGNORED)]
    if isinstance(tokens, Packs):
        arrays.append(("position_ids", tokens.positions, 0))
    for name, values, fill in arrays:
        rows = pa.LargeListArray.from_arrays(offsets, pa.array(values))
        column[name] = pa.chunked_array([rows, pa.array([np.full(2, fill, np.int32)], rows.type)])
    return Dataset(pa.table({**column, "row": np.arange(len(tokens) + 1)}))


class SftMethod(ResumableTrainerMixin, SFTTrainer):
    """SFTTrainer whose loss is a mean over the tokens in the loss."""

    padding_free = False

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the tokens in the loss of the step, on all ranks. On a CPU TRL's own scores padding too."""
        with self.accelerator.autocast():  # the model's parts are called here, past the forward that accelerate wraps
            result = score(model, inputs["input_ids"], inputs["labels"], inputs.get("position_ids"))
        count = num_items_in_batch if num_items_in_batch is not None else max(1, result.count)
        self.meter.correct = self.meter.correct + result.correct
        self.meter.scored += result.count
        self._step_tokens += inputs["tokens"]
        return result.nll * (self.group.size / count)  # gradients and logged losses are means over the ranks

    def sequences(self, inputs: dict[str, Any], indices: list[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Rows without padding; of a pack, each of its rows."""
        lengths = self.tokens.lengths()
        if self.padding_free:
            own = [index for index in indices if index < len(lengths)]
            places = inputs["position_ids"][0].numpy()
            for index, (ids, labels) in zip(
                own, split_rows(places, inputs["input_ids"][0].numpy(), inputs["labels"][0].numpy()), strict=False
            ):
                yield self.tokens.row_ids[index], ids, labels
            return
        for at, index in enumerate(indices):
            if index == len(lengths):
                continue  # the filler
            ids, labels = (inputs[name][at][: lengths[index]].numpy() for name in ("input_ids", "labels"))
            if isinstance(self.tokens, Packs):
                yield from self.tokens.unpacked(index, ids, labels, inputs["position_ids"][at].numpy())
            else:
                yield self.tokens.row_ids[index], ids, labels

    def evaluate_rows(self, tokens: Tokens) -> dict[str, float]:
        """Loss and token accuracy over rows."""
        pad_id = self.processing_class.pad_token_id
        scores = score_rows(self.model, tokens, self.args.per_device_train_batch_size, pad_id)
        return {"eval/loss": scores.loss(), "eval/token_accuracy": scores.accuracy()}


def build(
    spec: TrainSpec, model: Any, tokenizer: Any, tokens: Tokens, scratch: Path, total_steps: int, group: Group
) -> SftMethod:
    """The trainer, ready to `train()`; `model` has its adapter."""
    pad_id, packs = tokenizer.pad_token_id, isinstance(tokens, Packs)

    free = spec.hyperparameters.padding_free

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        sequences = [(row["input_ids"], row["labels"]) for row in rows]
        ids, labels = joined_rows(sequences)[:2] if free else pad_right(sequences, pad_id)
        counted = sum(len(row["input_ids"]) for row in rows if max(row["labels"]) != IGNORED)
        packed = {"position_ids": pad_positions([row["position_ids"] for row in rows], ids.shape[1])} if packs else {}
        if free:
            packed["position_ids"] = joined_rows(sequences)[2]
        return {
            "input_ids": ids,
            "labels": labels,
            "tokens": counted,
            "rows": torch.tensor([row["row"] for row in rows]),
            **packed,
        }

    trainer = SftMethod(
        model=model,
        args=sft_config(spec, scratch, total_steps),
        data_collator=collate,
        train_dataset=as_dataset(tokens),
        processing_class=tokenizer,
    )
    trainer.padding_free = free
    if group.size > 1:
        score_when_called(trainer.model)
    return ready(trainer, tokens, spec, group)
