"""The act of training, top to bottom: rows, model, trainer, steps with their reports, checkpoints, the adapter, the result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from . import checkpoint
from .adapter import attach
from .control import Commands, TrainingFailed
from .data import BadData, Tokens, answer_of, read_rows, render, tokenize_rows
from .generate import greedy
from .group import Group, Mute
from .home import Home
from .inputs import fetch_rows, input_dir
from .methods import load_method
from .model import end_token_ids, load_model, load_tokenizer, prepare_torch
from .score import score_rows
from .spec import TrainSpec
from .uploads import Upload, Uploader

PROGRESS_EVERY_S = 1.0
STOPS = (None, "paused", "cancelled")


def run(
    home: Home | Mute, reply: dict[str, Any], spec: TrainSpec, commands: Commands, group: Group | None = None
) -> str:
    """Trains and uploads; returns the outcome `succeeded`, `paused` or `cancelled`. Raises what stops it.

    With a group of ranks every rank runs this; the first alone speaks to home and writes, the others have a mute one.
    """
    group = group or Group()
    device = prepare_torch()
    base = _fetched(group, lambda: input_dir(home, "base", reply["inputs"]["base"]))
    home.phase("loading_data")
    tokenizer = load_tokenizer(base)
    train_file, holdout_file = (_fetched(group, lambda s=s: fetch_rows(home, s)) for s in ("train", "holdout"))
    if train_file is None:
        raise BadData("the job has no training rows")

    home.phase("loading_model")
    model = load_model(
        base, spec.hyperparameters.precision, None if group.sharded else device, spec.method.quantization
    )
    ends = end_token_ids(model, tokenizer)
    start = _fetched(group, lambda: input_dir(home, "start", reply["inputs"]["start"])) if spec.start else None
    model = attach(spec, model, start)
    h = spec.hyperparameters
    tokens = _shared_tokens(
        group,
        home.scratch,
        lambda: tokenize_rows(
            tokenizer, read_rows(train_file), max_length=h.max_length, loss_on=h_loss(spec), end_ids=ends
        ),
    )
    for warning in tokens.warnings:
        home.log("warn", warning)
    if tokens.cut or tokens.dropped:
        home.log(
            "warn",
            f"{tokens.cut} rows are longer than {h.max_length} tokens and were cut; {tokens.dropped} dropped for having nothing to learn",
        )

    steps_per_epoch = max(1, math.ceil(len(tokens) / h.batch_size))
    total_steps = max(1, math.ceil(h.n_epochs * steps_per_epoch))
    if h.max_steps is not None:
        total_steps = min(total_steps, h.max_steps)
    trainer = load_method(spec.method.type).build(spec, model, tokenizer, tokens, home.scratch, total_steps, group)
    trainable, parameters = trainer.model.get_nb_trainable_parameters()
    home.emit(
        "plan",
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        train_rows=len(tokens),
        train_tokens_per_epoch=int(tokens.lengths().sum()),
        trainable_parameters=trainable,
        total_parameters=parameters,
        rows_cut=tokens.cut,
        rows_dropped=tokens.dropped,
    )
    loop = Loop(home, spec, trainer, tokenizer, commands, holdout_file, ends, group)
    resume = resume_dir(home, reply, trainer, group)
    if loop.asked_to_stop():
        return loop.stopped()
    many = f" x {group.size} ({spec.parallel.strategy})" if group.size > 1 else ""
    home.phase(
        "training", f"{total_steps} steps on {device.type}{many}, {torch.get_num_threads()} threads, {h.precision}"
    )
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    group.leave()
    return loop.finish(total_steps) if group.main else loop.stop or "succeeded"


def _fetched(group: Group, fetch: Callable[[], Path | None]) -> Any:
    """What rank 0 fetched, for all ranks: they share a disk."""
    return group.share(fetch() if group.main else None)


def _shared_tokens(group: Group, scratch: Path, make: Callable[[], Tokens]) -> Tokens:
    """Rank 0 tokenizes; the others map its files instead of doing the same work in as much memory again."""
    if group.size == 1:
        return make()
    directory = scratch / "tokens"
    if group.main:
        tokens = make()
        tokens.save(directory)
    group.share()
    return tokens if group.main else Tokens.load(directory)


def h_loss(spec: TrainSpec) -> str:
    """On which tokens the spec wants the loss."""
    return spec.method.loss_on


def resume_dir(home: Home | Mute, reply: dict[str, Any], trainer: Any, group: Group) -> Path | None:
    """The checkpoint to go on from, when the server offers one. The number of processes may differ from the one it was made by."""
    if not group.share(reply.get("resume") is not None if group.main else None):
        return None
    directory = _fetched(group, lambda: input_dir(home, "resume", reply["resume"]))
    trainer.resumed = checkpoint.read_state(directory)
    home.log("info", f"going on from the checkpoint of step {trainer.resumed['global_step']}")
    before = trainer.resumed["stateful_callbacks"][checkpoint.OURS].get("processes", 1)
    if before != group.size:
        home.log(
            "warn",
            f"the checkpoint was made by {before} processes, now there are {group.size}: the rows of every step stay the same, "
            "but dropout draws other numbers and sums round differently",
        )
    return directory


class Loop(TrainerCallback):
    """What happens around the steps: reports, evaluation, checkpoints, samples and commands, in that order."""

    def __init__(
        self,
        home: Home | Mute,
        spec: TrainSpec,
        trainer: Any,
        tokenizer: Any,
        commands: Commands,
        holdout: Path | None,
        ends: set[int],
        group: Group,
    ) -> None:
        self.home, self.spec, self.trainer, self.tokenizer, self.commands, self.ends = (
            home,
            spec,
            trainer,
            tokenizer,
            commands,
            ends,
        )
        self.group = group
        self.uploader = Uploader(home, spec.schedule.keep_checkpoints) if group.main else None
        # Whole weights answer alone; weights in parts need every rank for every word.
        self.answers = group.main or group.sharded
        self.stop: str | None = None  # why it ends, once all ranks know
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
        """Decides what follows this step, on all ranks alike; commands and signals are obeyed here."""
        tokens, wanted = self._agree(self.trainer.take_step_tokens())
        self.trainer.meter.step_ends(tokens)
        self._steps_here += 1
        step, s = state.global_step, self.spec.schedule
        last, stop = step >= state.max_steps, self.stop is not None
        control.should_log = step % s.log_every == 0 or last
        control.should_evaluate = self.eval_tokens is not None and (
            last or (s.eval_every > 0 and step % s.eval_every == 0)
        )
        control.should_save = last or stop or wanted or (s.save_every > 0 and step % s.save_every == 0)
        control.should_training_stop = last or stop
        if control.should_log or time.monotonic() - self._last_progress > PROGRESS_EVERY_S:
            self._progress(state)

    def _agree(self, tokens: int) -> tuple[int, bool]:
        """Tokens of the step over all ranks, and whether a checkpoint is wanted; `stop` becomes what rank 0 was told.

        One exchange a step: a rank that stopped a step before the others would leave them waiting for it.
        """
        told = [0, 0]
        if self.group.main:
            self.commands.poll()
            told = [STOPS.index(self.commands.stop), len(self.commands.pending)]
        total, stop, wanted = self.group.reduce([tokens, *told])
        self.stop = STOPS[int(stop)]
        return int(total), wanted > 0

    def asked_to_stop(self) -> bool:
        """Whether a command or a signal came before the first step."""
        self._agree(0)
        return self.stop is not None

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
        """Sends the metrics of a log line; then the guard looks at its loss, on every rank, so that all stop together."""
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
        if not self.answers:
            return {}
        scores = score_rows(self.trainer.model, self.eval_tokens, h.per_device_batch_size, self.tokenizer.pad_token_id)
        values = {"eval/loss": scores.loss(), "eval/token_accuracy": scores.accuracy()}
        self.last |= values
        self.home.emit("metrics", step=state.global_step, epoch=round(state.epoch, 4), values=values)
        return values

    def save(self, state: dict[str, Any]) -> None:
        """Writes a checkpoint, queues its upload, and shows samples; commands are done when the upload is."""
        step = self.trainer.state.global_step
        contents = self.trainer.collect()
        rngs = self.group.gather(checkpoint.rng_state())
        if self.group.main:
            self._write(step, contents, state, rngs)
        if self.stop is None:
            if self.answers:
                self._samples(step)
            if step < self.trainer.state.max_steps:
                self.home.phase("training")

    def _write(
        self, step: int, contents: checkpoint.Contents, state: dict[str, Any], rngs: list[dict[str, Any]]
    ) -> None:
        asked = self.commands.take_pending()
        self.home.phase("saving", f"checkpoint of step {step}")
        directory = self.home.scratch / "checkpoints" / f"step-{step}"
        checkpoint.write_checkpoint(directory, contents, state, self.spec.base_model, rngs)

        def uploaded() -> None:
            for command in asked:
                self.home.command_done(command)

        metrics = {"step": step, **self.last}
        wanted = bool(asked) or self.stop is not None or step >= self.trainer.state.max_steps
        for old in [u for u in self.saved if u.done.is_set()]:
            checkpoint.remove(old.directory)
            self.saved.remove(old)
        upload = Upload("checkpoint", step, directory, checkpoint.FILES, metrics, wanted=wanted, then=uploaded)
        self.saved.append(self.uploader.add(upload))

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
        return self.stop or "cancelled"

    def finish(self, total_steps: int) -> str:
        """Waits for the uploads, sends the adapter and the result of a run that reached its end."""
        step = self.trainer.state.global_step
        if step < total_steps:
            self.home.phase("uploading")
            self.uploader.wait()
            if self.stop == "paused" and self.saved and self.saved[-1].error:
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
