"""Runs an evaluation: base and fine-tuned model answer the same rows; losses, accuracies and exact matches with
intervals.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..data.rows import PreferencePairs, last_answer_only, question_of, read_rows, tokenize
from ..data.template import encode_conversation
from ..data.tokens import Tokens
from ..data.tool_calls.answers import Answer, AnswerReader
from ..model.artifacts import check_adapter, is_full_model, is_reward_model
from ..model.checkpoint import load_weights
from ..model.generate import greedy
from ..model.load import end_token_ids, load_model, prepare_torch
from ..model.score import RowScores, reward_rows, score_rows
from ..model.tokenizer import load_tokenizer
from ..protocol.control import Commands
from ..protocol.failures import BadData, ModelLoad
from ..protocol.home import Home
from ..protocol.inputs import fetch_rows, input_dir
from ..spec.models import EvaluateSpec
from .intervals import side_score

PROGRESS_EVERY_S = 1.0
# Tokens an answer may have beyond the longest expected one: enough to see that it does not end, and cheap.
EXTRA_TOKENS = 16
# Texts are scored in pieces of this many tokens: each token is in the loss, and their logits are in memory together.
TEXT_TOKENS = 1024
# Characters of a text that are shown with its scores.
MAX_SHOWN_CHARS = 2000


def run(home: Home, reply: dict[str, Any], spec: EvaluateSpec, commands: Commands) -> str:
    """Answers and scores the rows with both sides; returns the outcome `succeeded`, `paused` or `cancelled`."""
    device = prepare_torch()
    base = input_dir(home, "base", reply["inputs"]["base"])
    home.phase("loading_data")
    adapter = None if spec.tuned is None else input_dir(home, "adapter", reply["inputs"]["adapter"])
    # Both sides read the same prompts: by the fine-tuned model's template, if it has one of its own.
    tokenizer = load_tokenizer(base, adapter)
    kind = spec.dataset.row_type
    file = fetch_rows(home, spec.split)
    rows = list(read_rows(file, kind, spec.max_rows)) if file else []
    if not rows:
        raise BadData(f"the split {spec.split!r} has no rows")
    if adapter is not None and not is_full_model(adapter):
        check_adapter("tuned", adapter)
    against = None if spec.against is None else input_dir(home, "against", reply["inputs"]["against"])
    whole = adapter is not None and is_full_model(adapter)
    scores = adapter is not None and is_reward_model(adapter)
    if scores and kind != "preference":
        raise BadData(f"a reward model compares pairs of answers, and these rows are of type {kind}")

    home.phase("loading_model")
    model = load_model(base, spec.precision, device, spec.quantization)
    material = EvaluationRows(home, kind, rows, tokenizer, model)
    many = 1 if adapter is None else 2
    runner = Evaluator(home, spec, model, tokenizer, commands, material, many, scores)
    result: dict[str, Any] = {"base": None, "tuned": None}
    if adapter is not None and not scores and not whole and against is None:
        runner.model = with_adapter(model, adapter)
    for side in ("base", "tuned")[:many]:
        if scores and side == "tuned":
            from ..training.methods.reward import scoring_model

            scorer = scoring_model(model, tokenizer.pad_token_id, spec.seed)
            if whole:
                load_weights(adapter, scorer)  # replaces the base's weights, which are no longer needed
            runner.model = scorer if whole else with_adapter(scorer, adapter)
        elif against is not None:
            runner.model = model = None  # two models may not fit into memory
            runner.model = fine_tuned(spec, base, against if side == "base" else adapter, device)
        elif whole and side == "tuned":
            runner.model = model = None  # both models may not fit into memory
            runner.model = load_model(adapter, spec.precision, device)
        off = side == "base" and many == 2 and not scores and not whole and against is None
        with runner.model.disable_adapter() if off else contextlib.nullcontext():
            result[side] = runner.side(side)
        if commands.stop:
            for command in commands.take_pending():
                home.command_done(command)
            return commands.stop
    home.emit("result", result=result)
    return "succeeded"


def fine_tuned(spec: EvaluateSpec, base: Path, directory: Path, device: Any) -> Any:
    """The model of a directory: a full model, or its adapter on the base."""
    if is_full_model(directory):
        return load_model(directory, spec.precision, device)
    check_adapter("fine-tuned", directory)
    return with_adapter(load_model(base, spec.precision, device, spec.quantization), directory)


def with_adapter(model: Any, directory: Path) -> Any:
    """The model with the adapter of a directory. Raises ModelLoad when it does not fit."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, directory, is_trainable=False, local_files_only=True).eval()
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise ModelLoad(f"the adapter does not fit the base model: {error}") from error


class EvaluationRows:
    """The rows of an evaluation as tokens: what is scored, what it is compared with, and the prompts."""

    def __init__(self, home: Home, kind: str, rows: list[Any], tokenizer: Any, model: Any) -> None:
        limit = model.config.get_text_config().max_position_embeddings
        limit = min(limit, TEXT_TOKENS) if kind == "text" else limit
        ends = end_token_ids(model, tokenizer)

        def tokens_of(rows: list[Any]) -> Tokens:
            return tokenize(kind, tokenizer, rows, max_length=limit, loss_on="completion", end_ids=ends, leave_out=True)

        if kind == "chat":
            # The scored row must be the answered one: only the last answer is in the loss, whatever the weights for
            # training are.
            rows = [{**row, "messages": last_answer_only(row["messages"])} for row in rows]
        self.bad: Tokens | None = None
        if kind == "unpaired":
            bad, rows = [row for row in rows if not row["label"]], [row for row in rows if row["label"]]
            if not rows:
                raise BadData("no row is labeled as a good answer: there is nothing to compare answers with")
            self.bad = tokens_of(bad) if bad else None
        found = tokens_of(rows)
        for warning in found.warnings:
            home.log("warn", warning)
        if found.dropped:
            home.log("warn", f"{found.dropped} rows are left out: nothing to score within {limit} tokens")
        kept = set(found.row_ids)
        self.kind, self.ends = kind, ends
        self.rows = [row for row in rows if int(row["id"]) in kept]
        self.pairs = found if isinstance(found, PreferencePairs) else None
        self.tokens = found.side(0) if isinstance(found, PreferencePairs) else found
        self.rejected = found.side(1) if isinstance(found, PreferencePairs) else None
        self.questions = [
            ([], Answer(row["text"][:MAX_SHOWN_CHARS])) if kind == "text" else question_of(row, kind)
            for row in self.rows
        ]
        self.prompts = [] if kind == "text" else [
            encode_conversation(tokenizer, q, row.get("tools")).ids
            for row, (q, _) in zip(self.rows, self.questions, strict=True)
        ]  # fmt: skip

    def by_row(self, scores: RowScores) -> RowScores:
        """Scores of rows from those of their pieces: a long text has several."""
        if len(self.rows) == len(self.tokens):
            return scores
        place = {int(row["id"]): i for i, row in enumerate(self.rows)}
        at = [place[row_id] for row_id in self.tokens.row_ids]
        return RowScores(
            *(np.bincount(at, each, len(self.rows)) for each in (scores.nll, scores.correct, scores.count))
        )


class Evaluator:
    """Answers and scores all rows with the current model, and reports each row."""

    def __init__(
        self,
        home: Home,
        spec: EvaluateSpec,
        model: Any,
        tokenizer: Any,
        commands: Commands,
        material: EvaluationRows,
        sides: int,
        scores: bool,
    ) -> None:
        self.home, self.spec, self.model, self.tokenizer, self.commands = home, spec, model, tokenizer, commands
        self.material, self.scores = material, scores
        self._reader = AnswerReader(tokenizer)
        self._total, self._done = sides * len(material.rows), 0
        self._began, self._last = time.monotonic(), 0.0

    def _progress(self, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._last < PROGRESS_EVERY_S:
            return
        self._last = now
        eta = (now - self._began) / self._done * (self._total - self._done) if self._done else None
        self.home.emit(
            "progress",
            step=self._done,
            total_steps=self._total,
            eta_s=eta and round(eta, 1),
            fraction=self._done / self._total,
        )

    def side(self, side: str) -> dict[str, Any] | None:
        """Scores and answers each row; returns the SideScore, or None when stopped."""
        self.home.phase("evaluating", side)
        if self.scores:
            return self._compared(side)
        m = self.material
        scores = m.by_row(self._score(m.tokens))
        preferred = None
        if m.rejected is not None:
            preferred = mean_loss(scores) < mean_loss(self._score(m.rejected))
        if m.bad is not None and not self.commands.stop:
            self._log_rejected(side, m.bad)
        exact = None
        if m.kind == "text":
            for index in range(len(m.rows)):
                self._answer(side, index, scores, "", False)
        else:
            exact = self._answers(side, scores)
        self._progress(force=True)
        return None if self.commands.stop else side_score(scores, exact, self.spec.seed, preferred)

    def _score(self, tokens: Tokens) -> RowScores:
        pad = self.tokenizer.pad_token_id
        return score_rows(self.model, tokens, self.spec.batch_size, pad, self.commands.poll)

    def _answers(self, side: str, scores: RowScores) -> np.ndarray:
        """Generates an answer to each row; returns which answers are exactly the expected ones."""
        m = self.material
        exact = np.zeros(len(m.rows), bool)
        limit = min(self.spec.max_new_tokens, int(scores.count.max()) + EXTRA_TOKENS)
        answers = greedy(
            self.model, m.prompts, max_new_tokens=limit, batch_size=self.spec.batch_size,
            end_ids=m.ends, pad_id=self.tokenizer.pad_token_id, should_stop=self.commands.poll,
        )  # fmt: skip
        for index, ids in answers:
            answer = self._reader.read(ids, m.rows[index])
            exact[index] = m.questions[index][1].matches(answer)
            self._answer(side, index, scores, answer.text, bool(exact[index]))
        return exact

    def _answer(self, side: str, index: int, scores: RowScores, output: str, exact: bool) -> None:
        prompt, expected = self.material.questions[index]
        count = max(1.0, scores.count[index])
        self.home.emit(
            "answer",
            row_id=self.material.rows[index]["id"],
            side=side,
            prompt=prompt,
            expected=expected.text,
            output=output,
            exact=exact,
            loss=float(scores.nll[index] / count),
            token_accuracy=float(scores.correct[index] / count),
            tokens=0 if self.scores else int(scores.count[index]),
        )
        self._done += 1
        self._progress()

    def _compared(self, side: str) -> dict[str, Any] | None:
        """Pairs for a reward model: correct when the chosen answer scores higher. The base, which has no such head,
        compares likelihoods.

        No text is generated. `exact` is whether a pair is correct, `loss` the mean of -log sigmoid of the margin in
        nats per pair, and `tokens` is 0.
        """
        m = self.material
        if side == "base":
            found = -np.stack([mean_loss(self._score(tokens)) for tokens in (m.tokens, m.rejected)], 1)
        else:
            pad = self.tokenizer.pad_token_id
            found = reward_rows(self.model, m.pairs, self.spec.batch_size, pad, self.commands.poll)
        if self.commands.stop:
            return None
        margins = found[:, 0] - found[:, 1]
        ones = np.ones(len(m.rows))
        scores = RowScores(np.logaddexp(0.0, -margins), np.zeros(len(m.rows)), ones)
        right = margins > 0
        for index in range(len(m.rows)):
            scored = f"chosen {found[index, 0]:.4f}, rejected {found[index, 1]:.4f}"
            self._answer(side, index, scores, scored, bool(right[index]))
        self._progress(force=True)
        return {**side_score(scores, right, self.spec.seed, right), "tokens": 0}

    def _log_rejected(self, side: str, bad: Tokens) -> None:
        loss = self._score(bad).loss()
        self.home.log(
            "info",
            f"{side}: {len(bad)} answers labeled as bad have a loss of {loss:.4f} nats per token (higher is better)",
        )


def mean_loss(scores: RowScores) -> np.ndarray:
    """Mean loss of each row in nats per token."""
    return scores.nll / np.maximum(1.0, scores.count)
