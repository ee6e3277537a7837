"""The act of evaluating: base and tuned model answer the same rows; losses, accuracies and exact matches with intervals."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import numpy as np

from .control import Commands
from .data import BadData, answer_of, render, tokenize_rows
from .generate import greedy
from .home import Home
from .inputs import ModelLoad, check_adapter, fetch_rows, input_dir
from .model import end_token_ids, load_model, load_tokenizer, prepare_torch
from .rows import last_answer_only, read_rows
from .score import RowScores, score_rows
from .spec import EvaluateSpec

RESAMPLES = 2000
PROGRESS_EVERY_S = 1.0
# Tokens an answer may run past the longest expected one: enough to see that it does not end, too few to pay for rambling.
ROOM = 16


def run(home: Home, reply: dict[str, Any], spec: EvaluateSpec, commands: Commands) -> str:
    """Answers and scores the rows with both sides; returns the outcome `succeeded`, `paused` or `cancelled`."""
    device = prepare_torch()
    base = input_dir(home, "base", reply["inputs"]["base"])
    home.phase("loading_data")
    tokenizer = load_tokenizer(base)
    file = fetch_rows(home, spec.split)
    rows = list(read_rows(file, limit=spec.max_rows)) if file else []
    if not rows:
        raise BadData(f"the split {spec.split!r} has no rows")

    home.phase("loading_model")
    model = load_model(base, spec.precision, device, spec.quantization)
    ends = end_token_ids(model, tokenizer)
    limit = model.config.get_text_config().max_position_embeddings
    # Every row scored must be the row answered: only the last answer counts, whatever the training mask was.
    marked = [{**row, "messages": last_answer_only(row["messages"])} for row in rows]
    tokens = tokenize_rows(tokenizer, marked, max_length=limit, loss_on="completion", end_ids=ends)
    kept = set(tokens.row_ids)
    rows = [row for row in rows if int(row["id"]) in kept]
    if tokens.dropped:
        home.log("warn", f"{tokens.dropped} rows are left out: no answer within the model's {limit} tokens")
    sides = ["base"]
    if spec.tuned is not None:
        from peft import PeftModel

        directory = input_dir(home, "adapter", reply["inputs"]["adapter"])
        check_adapter("tuned", directory)
        try:
            model = PeftModel.from_pretrained(model, directory, is_trainable=False, local_files_only=True).eval()
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            raise ModelLoad(f"the adapter does not fit the base model: {error}") from error
        sides.append("tuned")

    runner = Runner(home, spec, model, tokenizer, commands, rows, tokens, ends, len(sides))
    result: dict[str, Any] = {"base": None, "tuned": None}
    for side in sides:
        without = model.disable_adapter() if side == "base" and len(sides) == 2 else contextlib.nullcontext()
        with without:
            result[side] = runner.side(side)
        if commands.stop:
            for command in commands.take_pending():
                home.command_done(command)
            return commands.stop
    home.emit("result", result=result)
    return "succeeded"


class Runner:
    """Answers and scores all rows with the model as it is now, reporting each row."""

    def __init__(
        self, home: Home, spec: EvaluateSpec, model: Any, tokenizer: Any, commands: Commands, rows: list[Any], tokens: Any,
        ends: set[int], sides: int,
    ) -> None:  # fmt: skip
        self.home, self.spec, self.model, self.tokenizer, self.commands = home, spec, model, tokenizer, commands
        self.rows, self.tokens, self.ends = rows, tokens, ends
        self._total, self._done = sides * len(rows), 0
        self._began, self._last = time.monotonic(), 0.0
        self._questions = [answer_of(row) for row in rows]
        self._prompts = [
            tokenizer(render(tokenizer, q, row.get("tools"), prompt=True), add_special_tokens=False)["input_ids"]
            for row, (q, _) in zip(rows, self._questions, strict=True)
        ]

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
        """Scores and answers every row; returns the SideScore, or None when told to stop."""
        self.home.phase("evaluating", side)
        pad = self.tokenizer.pad_token_id
        scores = score_rows(self.model, self.tokens, self.spec.batch_size, pad, self.commands.poll)
        exact = np.zeros(len(self.rows), bool)
        limit = min(self.spec.max_new_tokens, int(scores.count.max()) + ROOM)
        answers = greedy(
            self.model, self._prompts, max_new_tokens=limit, batch_size=self.spec.batch_size,
            end_ids=self.ends, pad_id=pad, should_stop=self.commands.poll,
        )  # fmt: skip
        for index, ids in answers:
            prompt, expected = self._questions[index]
            output = self.tokenizer.decode(ids, skip_special_tokens=True)
            exact[index] = output.strip() == expected.strip()
            count = max(1.0, scores.count[index])
            self.home.emit(
                "answer",
                row_id=self.rows[index]["id"],
                side=side,
                prompt=prompt,
                expected=expected,
                output=output,
                exact=bool(exact[index]),
                loss=float(scores.nll[index] / count),
                token_accuracy=float(scores.correct[index] / count),
                tokens=int(scores.count[index]),
            )
            self._done += 1
            self._progress()
        self._progress(force=True)
        return None if self.commands.stop else side_score(scores, exact, self.spec.seed)


def side_score(scores: RowScores, exact: np.ndarray, seed: int) -> dict[str, Any]:
    """The SideScore of the contract: means over tokens (exact match: over rows) with 95% intervals."""
    loss, accuracy = bootstrap(scores.nll, scores.count, seed), bootstrap(scores.correct, scores.count, seed)
    low, high = wilson(int(exact.sum()), len(exact))
    return {
        "rows": len(exact),
        "tokens": int(scores.count.sum()),
        "loss": loss,
        "perplexity": math.exp(min(loss["mean"], 700.0)),
        "token_accuracy": accuracy,
        "exact_match": {"mean": float(exact.mean()), "low": low, "high": high, "count": int(exact.sum())},
    }


def wilson(hits: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's 95% interval of a share; sound for few rows and for shares of 0 and 1."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if hits == 0 else max(0.0, centre - half)), (1.0 if hits == n else min(1.0, centre + half))


def bootstrap(sums: np.ndarray, counts: np.ndarray, seed: int) -> dict[str, float]:
    """Ratio of sums over rows (a mean per token) with a seeded 95% percentile bootstrap, drawing whole rows."""
    generator = np.random.default_rng(seed)
    n = len(sums)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = generator.integers(0, n, n)
        means[i] = sums[drawn].sum() / max(1.0, counts[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(sums.sum() / max(1.0, counts.sum())), "low": float(low), "high": float(high)}
