"""Everything around the steps of a run: reports, evaluation, checkpoints, samples, commands, and the end."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from ..data import rows
from ..data.encoder import rows_in_words
from ..data.template import accepts, encode_conversation
from ..data.tokens import Tokens
from ..data.tool_calls.answers import AnswerReader
from ..data.tool_template import tool_template
from ..distributed import peak
from ..distributed.group import Group, SilentHome
from ..model import checkpoint
from ..model.adapter import is_full_fine_tuning
from ..model.generate import greedy
from ..protocol.control import Commands
from ..protocol.failures import BadData, TrainingFailed
from ..protocol.home import Home
from ..protocol.uploads import Upload, Uploader
from ..spec.models import DataSettings, TrainSpec
from . import canary
from .hooks import TrainingHooks
from .inspection import row_hash
from .learned import warnings_of
from .stopping import BestWeights, EarlyStopping

PROGRESS_EVERY_S = 1.0
# Sequences of the first batch whose hashes are reported.
MAX_REPORTED = 64
STOPS = (None, "paused", "cancelled")
# Metrics of the step, not of the model.
NOT_MODEL_METRICS = ("train/learning_rate", "train/grad_norm")


def tokens_of(spec: TrainSpec, tokenizer: Any, found: Any, ends: set[int], *, leave_out: bool | None = None) -> Tokens:
    """Rows of the spec's type as tokens. Raises BadData when none is left, and TemplateRefused for a row that the chat
    template refuses, unless the spec or `leave_out` leaves such rows out.
    """
    kind, data = spec.dataset.row_type, spec.data or DataSettings()
    # Methods without the choice train on completions; of texts every token is in the loss.
    loss_on = getattr(spec.method, "loss_on", "completion")
    length = spec.hyperparameters.max_length - getattr(spec.method, "max_completion_length", 0)
    if leave_out is None:
        leave_out = data.on_template_error == "leave_out"
    return rows.tokenize(
        kind,
        tokenizer,
        found,
        max_length=length,
        loss_on=loss_on,
        end_ids=ends,
        special_tokens=data.special_tokens,
        mask_reasoning=data.reasoning == "mask",
        leave_out=leave_out,
    )


class Loop(TrainerCallback, TrainingHooks):
    """Everything around the steps: reports, evaluation, checkpoints, samples and commands, in that order."""

    def __init__(
        self,
        home: Home | SilentHome,
        spec: TrainSpec,
        trainer: Any,
        tokenizer: Any,
        commands: Commands,
        holdout: Path | None,
        ends: set[int],
        group: Group,
        base: Path,
        start: Path | None = None,
    ) -> None:
        self.base, self.start = base, start
        self.home, self.spec, self.trainer, self.tokenizer, self.commands, self.ends = (
            home,
            spec,
            trainer,
            tokenizer,
            commands,
            ends,
        )
        self.group = group
        self.kind = spec.dataset.row_type
        self.uploader = Uploader(home, spec.schedule.keep_checkpoints) if group.main else None
        # One rank with all weights generates alone; sharded weights need every rank for every token.
        self.answers = group.main or group.sharded
        self.stop: str | None = None  # why the run ends, once all ranks know
        self.eval_tokens, self.sample_rows = self._holdout(holdout)
        self.last: dict[str, float] = {}
        self.stopping, self.best = EarlyStopping(), BestWeights(home.scratch)
        h = spec.hyperparameters
        self.watches = h.keep_best or h.early_stopping is not None
        if self.watches and self.eval_tokens is None:
            home.log("warn", "no validation row can be scored, so early_stopping and keep_best have no effect")
        self.early = False  # whether the run ends because evaluations did not improve
        self.from_checkpoint: Path | None = None
        self.saved: list[Upload] = []
        self.peaks: dict[str, float] = {}
        self._steps_here, self._began, self._last_progress = 0, 0.0, 0.0
        trainer.hooks = self
        trainer.add_callback(self)

    def _holdout(self, path: Path | None) -> tuple[Tokens | None, list[dict[str, Any]]]:
        s = self.spec.schedule
        found = list(rows.read_rows(path, self.kind, max(s.eval_rows, s.sample_rows))) if path else []
        try:
            tokens = tokens_of(self.spec, self.tokenizer, found[: s.eval_rows], self.ends, leave_out=True)
        except BadData:
            tokens = None  # no validation rows, or none that can be scored: training continues without eval/loss
        if self.kind == "text" or not self.trainer.generates_text:
            return tokens, []
        samples = found[: s.sample_rows]
        questions = ((row, rows.question_of(row, self.kind)[0]) for row in samples)
        kept = [row for row, question in questions if accepts(self.tokenizer, question, row.get("tools"))]
        if len(kept) < len(samples):
            left_out = rows_in_words(len(samples) - len(kept))
            self.home.log("warn", f"no samples of {left_out} for validation: this model's chat template refuses them")
        return tokens, kept

    def resume_from(self, directory: Path) -> None:
        """Restores the evaluations that a checkpoint carries."""
        self.from_checkpoint = directory
        ours = self.trainer.resumed["stateful_callbacks"][checkpoint.OURS]
        self.stopping, self.last = EarlyStopping(**ours.get("stopping", {})), dict(ours.get("last", {}))
        if self.group.main and self.stopping.best_step is not None and self.spec.hyperparameters.keep_best:
            self.best.restore(directory)

    def over(self, total_steps: int) -> bool:
        """Whether the checkpoint to resume from was saved at the end of the run, so that no step is left."""
        resumed = self.trainer.resumed
        if resumed is None:
            return False
        self.early = self.stopping.over(self.spec.hyperparameters.early_stopping)
        if not self.early and resumed["global_step"] < total_steps:
            return False
        self.trainer.restore_finished()
        return True

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Runs the memory dry run; restores the open log window of a resumed run."""
        canary.run(self.home, self.spec, self.trainer)
        many = f" x {self.group.size} ({self.spec.parallel.strategy})" if self.group.size > 1 else ""
        where = f"{args.device.type}{many}, {torch.get_num_threads()} threads"
        self.home.phase("training", f"{state.max_steps} steps on {where}, {self.spec.hyperparameters.precision}")
        self.trainer.restore_window()
        self._began = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Records the peak memory of the run."""
        self.peaks = peak.peak_memory(self.group)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the step clock."""
        self.trainer.meter.step_begins()

    def first_batch(self, sequences: list[tuple[int, np.ndarray, np.ndarray]]) -> None:
        """Reports the rows of the first batch, so that the server can compare them with the rows it stores. Row ids may
        repeat.
        """
        rows = [{"row_id": row_id, "hash": row_hash(ids, labels)} for row_id, ids, labels in sequences[:MAX_REPORTED]]
        self.home.emit("first_batch", step=self.trainer.state.global_step + 1, rows=rows)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decides what follows this step, the same on all ranks; commands and signals take effect here."""
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
        """Tokens of the step over all ranks, and whether a checkpoint is wanted; `stop` becomes what rank 0 received.

        One exchange per step: a rank that stopped a step before the others would leave them waiting for it.
        """
        received = [0, 0]
        if self.group.main:
            self.commands.poll()
            received = [STOPS.index(self.commands.stop), len(self.commands.pending)]
        total, stop, wanted = self.group.reduce([tokens, *received])
        self.stop = STOPS[int(stop)]
        return int(total), wanted > 0

    def asked_to_stop(self) -> bool:
        """Whether a command or a signal came before the first step."""
        self._agree(0)
        return self.stop is not None

    def _progress(self, state: Any) -> None:
        self._last_progress = time.monotonic()
        seconds_per_step = (self._last_progress - self._began) / max(1, self._steps_here)
        self.home.emit(
            "progress",
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(state.epoch, 4),
            tokens_seen=self.trainer.meter.tokens_seen,
            eta_s=round(seconds_per_step * (state.max_steps - state.global_step), 1),
            fraction=state.global_step / state.max_steps,
        )

    def report(self, step: int, logs: dict[str, Any]) -> None:
        """Sends the metrics of a log line; then the guard checks its loss, on every rank, so that all stop together."""
        values = {
            "train/loss": logs["loss"],
            "train/learning_rate": logs["learning_rate"],
            "train/grad_norm": logs.get("grad_norm", 0.0),
            **self.trainer.meter.take(),
        }
        state = self.trainer.state
        self.home.metrics(step, state.max_steps, state.epoch, values)
        self.last |= {k: v for k, v in values.items() if k.startswith("train/") and k not in NOT_MODEL_METRICS}
        self.trainer.guard.check(step, values["train/loss"])

    def evaluate(self) -> dict[str, float]:
        """The method's loss over the validation rows of the schedule, and its other metrics."""
        values: dict[str, float] = {}
        if self.answers or self.trainer.evaluates_together:
            state = self.trainer.state
            values = self.trainer.evaluate_rows(self.eval_tokens)
            self.last |= values
            self.home.metrics(state.global_step, state.max_steps, state.epoch, values)
        name, sign = self.trainer.selection_metric
        self._judge(sign * values[name] if name in values else None)
        return values

    def _judge(self, loss: float | None) -> None:
        """Applies an evaluation to early stopping and keep_best; the loss of rank 0 decides for all."""
        h, step, control = self.spec.hyperparameters, self.trainer.state.global_step, self.trainer.control
        if not self.watches:
            return
        if self.stopping.look(step, self.group.share(loss)) and h.keep_best:
            control.should_save = True
        if self.stopping.over(h.early_stopping) and step < self.trainer.state.max_steps:
            self.early = control.should_save = control.should_training_stop = True
            self.home.log("info", self.stopping.message(step))

    def save(self, state: dict[str, Any]) -> None:
        """Writes a checkpoint, queues its upload, and generates samples; commands are done when the upload is."""
        step = self.trainer.state.global_step
        ours = state["stateful_callbacks"][checkpoint.OURS]
        ours |= {"stopping": self.stopping.state(), "last": {k: v for k, v in self.last.items() if math.isfinite(v)}}
        contents = self.trainer.collect()
        rngs = self.group.gather(checkpoint.rng_state())
        if self.group.main:
            self._write(step, contents, state, rngs)
        if self.stop is None:
            if self.answers:
                self._samples(step)
            if step < self.trainer.state.max_steps and not self.early:
                self.home.phase("training")

    def _write(
        self, step: int, contents: checkpoint.Contents, state: dict[str, Any], rngs: list[dict[str, Any]]
    ) -> None:
        asked = self.commands.take_pending()
        self.home.phase("saving", f"checkpoint of step {step}")
        directory = self.home.scratch / "checkpoints" / f"step-{step}"
        best = self.spec.hyperparameters.keep_best and self.stopping.best_step == step
        carried = None if best or self.stopping.best_step is None else self.best.weights()
        checkpoint.write_checkpoint(
            directory,
            contents,
            state,
            self.spec.base_model.model_dump(),
            rngs,
            carried,
            self.base,
            tool_template() if self.spec.data and self.spec.data.chat_template == "tools" else None,
        )
        if best:
            self.best.keep(directory)

        def uploaded() -> None:
            for command in asked:
                self.home.command_done(command)

        metrics = {"step": step, **self.last}
        wanted = bool(asked) or best or self.early or self.stop is not None or step >= self.trainer.state.max_steps
        for old in [u for u in self.saved if u.done.is_set()]:
            checkpoint.remove(old.directory)
            self.saved.remove(old)
        files = checkpoint.files_of(directory)
        upload = Upload("checkpoint", step, directory, files, metrics, wanted=wanted, then=uploaded)
        self.saved.append(self.uploader.add(upload))

    def _samples(self, step: int) -> None:
        if not self.sample_rows:
            return
        self.home.phase("sampling")
        questions = [rows.question_of(row, self.kind) for row in self.sample_rows]
        prompts = [
            encode_conversation(self.tokenizer, q, row.get("tools")).ids
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
        reader = AnswerReader(self.tokenizer)
        outputs = {index: reader.read(ids, self.sample_rows[index]) for index, ids in answers}
        details = self.trainer.sample_details([self.sample_rows[index] for index in outputs], list(outputs.values()))
        for (index, output), more in zip(outputs.items(), details, strict=True):
            prompt, expected = questions[index]
            self.home.emit(
                "sample",
                step=step,
                row_id=self.sample_rows[index]["id"],
                prompt=prompt,
                expected=expected.text,
                output=output.text,
                **more,
            )

    def stopped(self) -> str:
        """Reports the commands that ended the job as done; returns the outcome."""
        for command in self.commands.take_pending():
            self.home.command_done(command)
        return self.stop or "cancelled"

    def _select_result(self, step: int) -> tuple[int, Path, dict[str, Any]]:
        """The adapter or model that is the result: its step, its directory, and its metrics."""
        best = self.stopping.best_step
        if best is not None and self.best.weights() is not None:
            name, sign = self.trainer.selection_metric
            return best, self.best.directory, {"step": best, name: sign * self.stopping.best}
        here = self.home.scratch / "checkpoints" / f"step-{step}"
        return step, here if here.is_dir() else self.from_checkpoint or here, {"step": step, **self.last}

    def finish(self, total_steps: int) -> str:
        """Waits for the uploads, and sends the adapter or model and the result of a run that reached its end."""
        step = self.trainer.state.global_step
        if step < total_steps and not self.early:
            self.home.phase("uploading")
            self.uploader.wait()
            if self.stop == "paused" and self.saved and self.saved[-1].error:
                raise TrainingFailed(
                    "server_refused",
                    f"the checkpoint was not taken: {self.saved[-1].error}",
                    "Look at the server's log.",
                )
            return self.stopped()
        kind = "model" if is_full_fine_tuning(self.spec) else "adapter"
        self.home.phase("uploading", f"checkpoint and {kind}")
        if self.early:
            seen = self.trainer.meter.tokens_seen
            self.home.emit("progress", step=step, total_steps=step, tokens_seen=seen, eta_s=0.0, fraction=1.0)
        chosen, directory, metrics = self._select_result(step)
        warnings = warnings_of(directory, self.start or self.base, self.start is not None, self.trainer.guard)
        for warning in warnings:
            self.home.log("warn", warning)
        adapter = self.uploader.add(Upload(kind, chosen, directory, checkpoint.result_files(directory), metrics))
        self.uploader.wait()
        if adapter.reply is None:
            raise TrainingFailed(
                "internal", f"the {kind} was not taken by the server: {adapter.error}", "Look at the server's log."
            )
        self.home.emit(
            "result",
            result={
                "steps": step,
                "train_loss": self.trainer.mean_loss(),
                "eval_loss": metrics.get("eval/loss"),
                "tokens_seen": self.trainer.meter.tokens_seen,
                "adapter_artifact": adapter.reply["artifact_id"],
                **({"best_step": chosen} if self.spec.hyperparameters.keep_best else {}),
                **({"ended_early": True} if self.early else {}),
                **({"warnings": warnings} if warnings else {}),
                **self.peaks,
            },
        )
        for command in self.commands.take_pending():
            self.home.command_done(command)
        return "succeeded"
