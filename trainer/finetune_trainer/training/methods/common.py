"""What every method shares, over transformers' Trainer: batches, reports, checkpoints without pickles, and exact
resume.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import set_seed

from ...data.order import BucketSampler, RankBatches
from ...data.tokens import counts
from ...data.tool_calls.answers import Answer
from ...distributed import zero
from ...distributed.group import GROUP_TIMEOUT, Group
from ...model import checkpoint
from ...model.adapter import hide_quantization, is_full_fine_tuning
from ...protocol.failures import TrainingFailed
from ...spec.models import TrainSpec
from ..guard import Guard
from ..hooks import TrainingHooks
from ..meter import Meter
from ..optimizers import ARGUMENTS
from ..warmup import learn_from_first_step, warmup_steps

# transformers' name and settings of a schedule, where they differ from the spec's name.
SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "constant": ("constant_with_warmup", {}),
    "cosine_with_restarts": ("cosine_with_restarts", {"num_cycles": 4}),
    "polynomial": ("polynomial", {"power": 2.0, "lr_end": 0.0}),
}


def arguments(spec: TrainSpec, scratch: Path, total_steps: int) -> dict[str, Any]:
    """Arguments of every TRL configuration: the numbers of the spec, and all of Trainer's own reports, saves and
    evaluations turned off.
    """
    h = spec.hyperparameters
    schedule, settings = SCHEDULES.get(h.scheduler, (h.scheduler, {}))
    return {
        "output_dir": str(scratch / "trl"),
        "max_steps": total_steps,
        "per_device_train_batch_size": h.per_device_batch_size,
        "gradient_accumulation_steps": h.gradient_accumulation,
        "learning_rate": h.learning_rate,
        **ARGUMENTS[h.optimizer],
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": settings,
        "warmup_steps": warmup_steps(h.warmup_ratio, total_steps),
        "weight_decay": h.weight_decay,
        "max_grad_norm": h.max_grad_norm,
        "seed": h.seed,
        "neftune_noise_alpha": h.neftune_alpha,
        # Frozen weights are loaded in the wanted precision; autocast would convert them at every step. In full
        # fine-tuning the
        # weights stay float32, since bfloat16 with its 8 bits would lose such small steps, and compute in bfloat16.
        "bf16": is_full_fine_tuning(spec) and h.precision == "bfloat16",
        "gradient_checkpointing": h.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": spec.schedule.log_every,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,  # every adapter layer takes part in every batch
        "ddp_broadcast_buffers": False,
        "ddp_timeout": int(GROUP_TIMEOUT.total_seconds()),
    }


class Batches(DataLoader):
    """A data loader that passes the epoch to its batches; transformers sets it on the loader only."""

    def set_epoch(self, epoch: int) -> None:
        """Sets the next epoch."""
        self.batch_sampler.set_epoch(epoch)


class ResumableTrainerMixin:
    """The first base of every method's class, before a TRL trainer: rows batched by length, and exact, pickle-free
    resume.
    """

    meter: Meter
    guard: Guard
    tokens: Any  # the rows, see data/tokens.py: only their number and their lengths are used here
    group: Group
    generates_text = True  # whether the model generates text: samples are shown at checkpoints
    evaluates_together = False  # whether an evaluation needs all ranks at once
    equal_batches = False  # whether all ranks need the same number of rows in every batch, at least `min_rows`
    min_rows = 1
    generated_tokens = 0  # tokens that the model adds to a row while it trains, at most
    resumed: dict[str, Any] | None = None
    hooks: TrainingHooks  # set by Loop
    reports_first_batch = True  # whether a batch holds rows as they are stored; generated ones are not
    selection_metric = (
        "eval/loss",
        1,
    )  # the metric to compare evaluations by; 1 when lower is better, else -1
    first_batch_reported = False  # whether the first batch of this attempt was reported
    _step_tokens = 0

    def __init__(self, model: Any, **given: Any) -> None:
        with hide_quantization(model):
            super().__init__(model=model, **given)

    def rows_at_once(self) -> int:
        """Rows of a micro-batch of this rank."""
        return self.args.per_device_train_batch_size

    def get_train_dataloader(self) -> Batches:
        """This rank's micro-batches. accelerate would distribute rows too, but repeat some so that all ranks have the
        same number.
        """
        batch = self.rows_at_once()
        steps = batch * self.args.gradient_accumulation_steps * self.group.size
        order = BucketSampler(self.tokens.lengths(), steps, self.args.seed)
        filler = None if self.equal_batches else len(self.tokens)
        sampler = RankBatches(order, batch, self.group.rank, self.group.size, filler, self.min_rows)
        return Batches(
            self.train_dataset,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """transformers' schedule; the first step of a short run learns."""
        if self.lr_scheduler is None:
            schedule = super().create_scheduler(num_training_steps, optimizer)
            warmup = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = learn_from_first_step(schedule, warmup, num_training_steps)
        return self.lr_scheduler

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        tokens = int(inputs.pop("tokens"))
        inputs.pop("rows", None)
        return {**super()._prepare_inputs(inputs), "tokens": tokens}

    def training_step(self, model: Any, inputs: dict[str, Any], *given: Any) -> torch.Tensor:
        """A micro-batch forward and backward. The very first one is reported before anything is learned from it."""
        if self.reports_first_batch and not self.first_batch_reported:
            self.first_batch_reported = True
            here = {name: value.cpu() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
            found = self.sequences(here, here.pop("rows").tolist())
            self.hooks.first_batch([seen for seen in found if counts(seen[2])])
        return super().training_step(model, inputs, *given)

    def dry_run(self, rows: list[int]) -> None:
        """A micro-batch of these rows forward and backward, to measure its memory; the caller restores the trainer."""
        self.current_gradient_accumulation_steps = 1
        self.training_step(self.model_wrapped, self.data_collator([self.train_dataset[row] for row in rows]), None)

    def sequences(self, inputs: dict[str, Any], indices: list[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Row id, token ids and labels of each sequence of a batch, as the batch has them, without padding."""
        raise NotImplementedError

    def sample_details(self, rows: list[dict[str, Any]], outputs: list[Answer]) -> list[dict[str, Any]]:
        """Further fields of samples, a dictionary for each row."""
        return [{} for _ in outputs]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: it walks over all parameters at every step, for a number nobody reads."""
        return 0

    def take_step_tokens(self) -> int:
        """Tokens of the last step, without padding."""
        taken, self._step_tokens = self._step_tokens, 0
        return taken

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Passes a training log on; the summary at the end of the loop is not a metric."""
        if "loss" in logs:
            self.hooks.report(self.state.global_step, logs)

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        self.control.should_evaluate = False
        return self.hooks.evaluate()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        (total,) = self.group.reduce([float(self._tr_loss)])
        loss = total / self.group.size
        if not math.isfinite(loss):
            raise TrainingFailed(
                "nan_loss", f"the loss became {loss} before step {self.state.global_step}", "Lower the learning rate."
            )
        self.hooks.save(self.resume_state(loss))

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> Any:
        """As in transformers. Under DeepSpeed it would look for DeepSpeed's pickles, so our files are loaded here."""
        if not self.is_deepspeed_enabled:
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        if resume_from_checkpoint is not None:
            zero.load(Path(resume_from_checkpoint), self.parts())
        return prepared

    def collect(self) -> checkpoint.Contents:
        """The content of a checkpoint as full tensors; all ranks call it together."""
        return zero.collect(self.parts()) if self.is_deepspeed_enabled else checkpoint.collect(self.parts())

    def parts(self) -> checkpoint.Parts:
        """The live objects that a checkpoint saves."""
        return checkpoint.Parts(self.model, getattr(self.optimizer, "optimizer", self.optimizer), self.lr_scheduler)

    def resume_state(self, window_loss: float) -> dict[str, Any]:
        """Trainer state in transformers' own layout; our additions are under `stateful_callbacks`.

        `window_loss` is the sum of losses since the last log, the mean over the ranks.
        """
        ours = {
            "meter": self.meter.state(),
            "guard": self.guard.state(),
            "window_loss": window_loss,
            "processes": self.group.size,
            "window_from_step": self._globalstep_last_logged,
            "loss_total": self._total_loss_scalar + self._loss_total_before,
        }
        theirs = {**dataclasses.asdict(self.state), "log_history": []}  # the server has the log
        return {**theirs, "stateful_callbacks": {checkpoint.OURS: ours}}

    _loss_total_before = 0.0

    def restore_window(self) -> None:
        """Restores the log window that was open in the checkpoint; the training loop has just reset its own."""
        if self.resumed is None:
            return
        ours = self.resumed["stateful_callbacks"][checkpoint.OURS]
        self._tr_loss += ours["window_loss"]
        self._globalstep_last_logged = ours["window_from_step"]
        self._loss_total_before = ours["loss_total"]
        self.meter.restore(ours["meter"])
        self.guard = Guard(**ours["guard"])

    def restore_finished(self) -> None:
        """Restores the checkpoint of a run's last step: nothing is left to train."""
        ours = self.resumed["stateful_callbacks"][checkpoint.OURS]
        self.state.global_step = self.resumed["global_step"]
        self._total_loss_scalar, self._loss_total_before = ours["window_loss"], ours["loss_total"]
        self.meter.restore(ours["meter"])

    def mean_loss(self) -> float:
        """Mean of the step losses since the very first step, resumed ones included."""
        return (self._total_loss_scalar + self._loss_total_before) / max(1, self.state.global_step)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint.load_weights(Path(resume_from_checkpoint), self.model)

    def _load_optimizer_and_scheduler(self, checkpoint_dir: str | None) -> None:
        if checkpoint_dir is not None:
            checkpoint.load_optimizer(Path(checkpoint_dir), self.parts())

    def _load_rng_state(self, checkpoint_dir: str | None) -> None:
        if checkpoint_dir is not None:
            checkpoint.load_rng(Path(checkpoint_dir), self.group.rank)


def ready(trainer: Any, tokens: Any, spec: TrainSpec, group: Group) -> Any:
    """Gives a new trainer its rows, group, meter and guard."""
    trainer.tokens, trainer.group, trainer.meter, trainer.guard = tokens, group, Meter(group), Guard()
    if group.size > 1:
        set_seed(spec.hyperparameters.seed + group.rank)  # the same dropout on every rank would be less of it
    return trainer
