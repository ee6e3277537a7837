"""The act of training, top to bottom: rows, model, trainer, steps with their reports, checkpoints, the adapter, the result."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from . import checkpoint
from .control import Commands, TrainingFailed
from .data import BadData, Tokens, answer_of, read_rows, render, tokenize_rows
from .generate import greedy
from .home import Home
from .inputs import fetch_rows, input_dir
from .methods import load_method
from .model import end_token_ids, load_model, load_tokenizer, prepare_torch
from .score import score_rows
from .spec import TrainSpec
from .uploads import Upload, Uploader

PROGRESS_EVERY_S = 1.0


def run(home: Home, reply: dict[str, Any], spec: TrainSpec, commands: Commands) -> str:
    """Trains and uploads; returns the outcome `succeeded`, `paused` or `cancelled`. Raises what stops it."""
    device = prepare_torch()
    base = input_dir(home, "base", reply["inputs"]["base"])
    home.phase("loading_data")
    tokenizer = load_tokenizer(base)
    train_file, holdout_file = fetch_rows(home, "train"), fetch_rows(home, "holdout")
    if train_file is None:
        raise BadData("the job has no training rows")

    home.phase("loading_model")
    model = load_model(base, spec.hyperparameters.precision, device)
    ends = end_token_ids(model, tokenizer)
    h = spec.hyperparameters
    tokens = tokenize_rows(
        tokenizer, read_rows(train_file), max_length=h.max_length, loss_on=h_loss(spec), end_ids=ends
    )
    for warning in tokens.warnings:
        home.log("warn", warning)
    if tokens.cut or tokens.dropped:
        home.log(
            "warn",
            f"{tokens.cut} rows are longer than {h.max_length} tokens and were cut; {tokens.dropped} dropped for having nothing to learn",
        )

    steps_per_epoch = max(1, math.ceil(math.ceil(len(tokens) / h.per_device_batch_size) / h.gradient_accumulation))
    total_steps = max(1, math.ceil(h.n_epochs * steps_per_epoch))
    if h.max_steps is not None:
        total_steps = min(total_steps, h.max_steps)
    trainer = load_method(spec.method.type).build(spec, model, tokenizer, tokens, home.scratch, total_steps)
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    home.emit(
        "plan",
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        train_rows=len(tokens),
        train_tokens_per_epoch=int(tokens.lengths().sum()),
        trainable_parameters=trainable,
        total_parameters=sum(p.numel() for p in trainer.model.parameters()),
        rows_cut=tokens.cut,
        rows_dropped=tokens.dropped,
    )
    loop = Loop(home, spec, trainer, tokenizer, commands, holdout_file, ends)
    resume = resume_dir(home, reply, trainer)
    if commands.poll():
        return loop.stopped()
    home.phase("training", f"{total_steps} steps on {device.type}, {torch.get_num_threads()} threads, {h.precision}")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return loop.finish(total_steps)


def h_loss(spec: TrainSpec) -> str:
    """On which tokens the spec wants the loss."""
    return spec.method.loss_on


def resume_dir(home: Home, reply: dict[str, Any], trainer: Any) -> Path | None:
    """The checkpoint to go on from, when the server offers one."""
    if not reply.get("resume"):
        return None
    directory = input_dir(home, "resume", reply["resume"])
    trainer.resumed = checkpoint.read_state(directory)
    home.log("info", f"going on from the checkpoint of step {trainer.resumed['global_step']}")
    return directory


class Loop(TrainerCallback):
    """What happens around the steps: reports, evaluation, checkpoints, samples and commands, in that order."""

    def __init__(
        self,
        home: Home,
        spec: TrainSpec,
        trainer: Any,
        tokenizer: Any,
        commands: Commands,
        holdout: Path | None,
        ends: set[int],
    ) -> None:
        self.home, self.spec, self.trainer, self.tokenizer, self.commands, self.ends = (
            home,
            spec,
            trainer,
            tokenizer,
            commands,
            ends,
        )
        self.uploader = Uploader(home, spec.schedule.keep_checkpoints)
        self.eval_tokens, self.sample_rows = self._holdout(holdout)
        self.last: dict[str, float] = {}
        self.saved: list[Upload] = []
        self._steps_here, self._began, self._last_progress = 0, 0.0, 0.0
        trainer.hooks = self
        trainer.add_callback(self)

    def _holdout(self, path: Path | None) -> tuple[Tokens | None, list[dict[str, Any]]]:
        s, h = self.spec.schedule, self.spec.hyperparameters
        rows = list(read_rows(path, max(s.eval_rows, s.sample_rows))) if path else []
        try:
            tokens = tokenize_rows(
                self.tokenizer,
                rows[: s.eval_rows],
                max_length=h.max_length,
                loss_on=h_loss(self.spec),
                end_ids=self.ends,
            )
        except BadData:
            tokens = None  # no hold-out rows, or none that can be scored: training goes on without eval/loss
        return tokens, rows[: s.sample_rows]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Restores the open log window of a resumed run."""
        self.trainer.restore_window()
        self._began = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the step clock."""
        self.trainer.meter.step_begins()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decides what follows this step; commands and signals are obeyed here."""
        self.trainer.meter.step_ends(self.trainer.take_step_tokens())
        self._steps_here += 1
        step, s = state.global_step, self.spec.schedule
        last = step >= state.max_steps
        stop = self.commands.poll()
        control.should_log = step % s.log_every == 0 or last
        control.should_evaluate = self.eval_tokens is not None and (
            last or (s.eval_every > 0 and step % s.eval_every == 0)
        )
        control.should_save = (
            last or stop or bool(self.commands.pending) or (s.save_every > 0 and step % s.save_every == 0)
        )
        control.should_training_stop = last or stop
        if control.should_log or time.monotonic() - self._last_progress > PROGRESS_EVERY_S:
            self._progress(state)

    def _progress(self, state: Any) -> None:
        self._last_progress = time.monotonic()
        pace = (self._last_progress - self._began) / max(1, self._steps_here)
        self.home.emit(
            "progress",
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(state.epoch, 4),
            tokens_seen=self.trainer.meter.tokens_seen,
            eta_s=round(pace * (state.max_steps - state.global_step), 1),
            fraction=state.global_step / state.max_steps,
        )

    def report(self, step: int, logs: dict[str, Any]) -> None:
        """Sends the metrics of a log line; then the guard looks at its loss."""
        values = {
            "train/loss": logs["loss"],
            "train/learning_rate": logs["learning_rate"],
            "train/grad_norm": logs.get("grad_norm", 0.0),
            **self.trainer.meter.take(),
        }
        self.home.emit("metrics", step=step, epoch=round(self.trainer.state.epoch, 4), values=values)
        self.last["train/loss"] = values["train/loss"]
        self.last["train/token_accuracy"] = values["train/token_accuracy"]
        self.trainer.guard.check(step, values["train/loss"])

    def evaluate(self) -> dict[str, float]:
        """Loss and token accuracy over the hold-out rows of the schedule."""
        h, state = self.spec.hyperparameters, self.trainer.state
        scores = score_rows(self.trainer.model, self.eval_tokens, h.per_device_batch_size, self.tokenizer.pad_token_id)
        values = {"eval/loss": scores.loss(), "eval/token_accuracy": scores.accuracy()}
        self.last |= values
        self.home.emit("metrics", step=state.global_step, epoch=round(state.epoch, 4), values=values)
        return values

    def save(self, state: dict[str, Any]) -> None:
        """Writes a checkpoint, queues its upload, and shows samples; commands are done when the upload is."""
        step = self.trainer.state.global_step
        asked = self.commands.take_pending()
        self.home.phase("saving", f"checkpoint of step {step}")
        directory = checkpoint.save_checkpoint(
            self.home.scratch / "checkpoints" / f"step-{step}", self.trainer.parts(), state, self.spec.base_model
        )

        def uploaded() -> None:
            for command in asked:
                self.home.command_done(command)

        metrics = {"step": step, **self.last}
        wanted = bool(asked) or self.commands.stop is not None or step >= self.trainer.state.max_steps
        for old in [u for u in self.saved if u.done.is_set()]:
            checkpoint.remove(old.directory)
            self.saved.remove(old)
        upload = Upload("checkpoint", step, directory, checkpoint.FILES, metrics, wanted=wanted, then=uploaded)
        self.saved.append(self.uploader.add(upload))
        if self.commands.stop is None:
            self._samples(step)
            if step < self.trainer.state.max_steps:
                self.home.phase("training")

    def _samples(self, step: int) -> None:
        if not self.sample_rows:
            return
        self.home.phase("sampling")
        questions = [answer_of(row) for row in self.sample_rows]
        prompts = [
            self.tokenizer(render(self.tokenizer, q, row.get("tools"), prompt=True), add_special_tokens=False)[
                "input_ids"
            ]
            for row, (q, _) in zip(self.sample_rows, questions, strict=True)
        ]
        answers = greedy(
            self.trainer.model,
            prompts,
            max_new_tokens=self.spec.schedule.sample_max_tokens,
            batch_size=self.spec.hyperparameters.per_device_batch_size,
            end_ids=self.ends,
            pad_id=self.tokenizer.pad_token_id,
        )
        for index, ids in answers:
            prompt, expected = questions[index]
            output = self.tokenizer.decode(ids, skip_special_tokens=True)
            self.home.emit(
                "sample",
                step=step,
                row_id=self.sample_rows[index]["id"],
                prompt=prompt,
                expected=expected,
                output=output,
            )

    def stopped(self) -> str:
        """Reports the commands that ended the work as done; returns the outcome."""
        for command in self.commands.take_pending():
            self.home.command_done(command)
        return self.commands.stop or "cancelled"

    def finish(self, total_steps: int) -> str:
        """Waits for the uploads, sends the adapter and the result of a run that reached its end."""
        step = self.trainer.state.global_step
        if step < total_steps:
            self.home.phase("uploading")
            self.uploader.wait()
            if self.commands.stop == "paused" and self.saved and self.saved[-1].error:
                raise TrainingFailed(
                    "server_refused",
                    f"the checkpoint was not taken: {self.saved[-1].error}",
                    "Look at the server's log.",
                )
            return self.stopped()
        self.home.phase("uploading", "checkpoint and adapter")
        directory = self.home.scratch / "checkpoints" / f"step-{step}"
        adapter = self.uploader.add(
            Upload("adapter", step, directory, checkpoint.ADAPTER_FILES, {"step": step, **self.last})
        )
        self.uploader.wait()
        if adapter.reply is None:
            raise TrainingFailed(
                "internal", f"the adapter was not taken by the server: {adapter.error}", "Look at the server's log."
            )
        self.home.emit(
            "result",
            result={
                "steps": step,
                "train_loss": self.trainer.mean_loss(),
                "eval_loss": self.last.get("eval/loss"),
                "tokens_seen": self.trainer.meter.tokens_seen,
                "adapter_artifact": adapter.reply["artifact_id"],
            },
        )
        for command in self.commands.take_pending():
            self.home.command_done(command)
        return "succeeded"
