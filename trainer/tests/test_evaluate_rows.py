"""Evaluation of rows other than conversations (pairs, labeled answers, texts), and of a reward model."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Here
from jobs import METHODS, evaluate_reply, full_reply, rows_of, train_reply

from finetune_trainer.data.template import render
from finetune_trainer.evaluation.intervals import side_score, wilson
from finetune_trainer.model.load import load_model
from finetune_trainer.model.score import RowScores
from finetune_trainer.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def tuned(tiny, tmp_path_factory):
    """Makes adapters by method, each once."""
    made: dict[str, Path] = {}

    def make(method: str) -> Path:
        if method not in made:
            data = {"train": rows_of(METHODS[method][0], 24)}
            job = Here(tmp_path_factory.mktemp(method), train_reply(tiny, method=method, total=40, batch=6), data)
            assert job.run() == 0
            job.server.stop()
            made[method] = job.server.complete("adapter")[0]["folder"]
        return made[method]

    return make


def evaluated(here, tiny, adapter: Path | None, row_type: str, rows: list[dict]):
    """Result, and answers by side and row."""
    job = here(evaluate_reply(tiny, adapter, row_type=row_type), holdout=rows)
    assert job.run() == 0
    assert job.server.of("progress")[-1]["fraction"] == 1
    return job, job.server.of("result")[0]["result"], {(e["side"], e["row_id"]): e for e in job.server.of("answer")}


def ids_of(tokenizer, row: dict, answer: list[dict]) -> tuple[list[int], int]:
    """Tokens of prompt and answer up to its end token, and how many are the prompt's."""
    prompt = tokenizer(render(tokenizer, row["messages"], None, prompt=True), add_special_tokens=False)["input_ids"]
    return [*prompt, *tokenizer(answer[0]["content"], add_special_tokens=False)["input_ids"], 1], len(prompt)


def losses_by_hand(model, ids: list[int], begin: int) -> list[float]:
    """Loss of every token from `begin` on, the slow and plain way."""
    with torch.no_grad():
        logs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    return [-float(logs[i - 1, ids[i]]) for i in range(begin, len(ids))]


def test_pairs_are_scored_on_the_chosen_answer_and_compared_with_the_other(here, tiny, tuned):
    from peft import PeftModel

    rows = rows_of("preference", 10, first=101)
    _, result, answers = evaluated(here, tiny, tuned("dpo"), "preference", rows)
    tokenizer, model = load_tokenizer(tiny), load_model(tiny, "float32", torch.device("cpu"))
    for side in ("base", "tuned"):
        if side == "tuned":
            model = PeftModel.from_pretrained(model, tuned("dpo")).eval()
        better, total, tokens = 0, 0.0, 0
        for row in rows:
            chosen, rejected = (losses_by_hand(model, *ids_of(tokenizer, row, row[s])) for s in ("chosen", "rejected"))
            better += np.mean(chosen) < np.mean(rejected)
            total, tokens = total + sum(chosen), tokens + len(chosen)
            answer = answers[side, row["id"]]
            assert answer["loss"] == pytest.approx(np.mean(chosen), rel=1e-4)
            assert answer["prompt"] == row["messages"] and answer["expected"] == row["chosen"][0]["content"]
        assert result[side]["loss"]["mean"] == pytest.approx(total / tokens, rel=1e-4)
        assert result[side]["preference"]["mean"] == pytest.approx(better / 10)
        assert (result[side]["preference"]["low"], result[side]["preference"]["high"]) == wilson(better, 10)
        assert (result[side]["rows"], result[side]["tokens"]) == (10, tokens)
    assert result["tuned"]["preference"]["mean"] == 1.0 > result["base"]["preference"]["mean"]


def test_a_reward_model_orders_pairs_and_reports_both_scores(here, tiny, tuned):
    rows = rows_of("preference", 10, first=101)
    _, result, answers = evaluated(here, tiny, tuned("reward"), "preference", rows)
    assert result["tuned"]["preference"]["mean"] == 1.0 > result["base"]["preference"]["mean"]
    for side in ("base", "tuned"):
        losses = []
        for row in rows:
            answer = answers[side, row["id"]]
            chosen, rejected = (float(part.split()[1]) for part in answer["output"].split(", "))
            assert answer["exact"] == (chosen > rejected)
            assert answer["loss"] == pytest.approx(math.log1p(math.exp(rejected - chosen)), abs=2e-4)
            losses.append(answer["loss"])
        score = result[side]
        assert score["loss"]["mean"] == pytest.approx(np.mean(losses), rel=1e-6) and score["tokens"] == 0
        assert score["exact_match"]["mean"] == score["preference"]["mean"]


@pytest.mark.parametrize(("reply", "kind"), [(train_reply, "adapter"), (full_reply, "model")])
def test_the_rewards_are_those_of_the_trained_model(here, tiny, reply, kind):
    """The files alone give the model back: the margin is the one the last evaluation of the training measured."""
    rows = rows_of("preference", 6, first=101)
    job = here(
        reply(tiny, method="reward", total=40, batch=6, eval_every=40, eval_rows=6),
        rows=rows_of("preference", 24),
        holdout=rows,
    )
    assert job.run() == 0
    measured = [e["values"] for e in job.server.of("metrics") if "eval/reward_margin" in e["values"]][-1]
    folder = job.server.complete(kind)[0]["folder"]
    _, _, answers = evaluated(here, tiny, folder, "preference", rows)
    margins = []
    for row in rows:
        chosen, rejected = (float(part.split()[1]) for part in answers["tuned", row["id"]]["output"].split(", "))
        margins.append(chosen - rejected)
    assert np.mean(margins) == pytest.approx(measured["eval/reward_margin"], abs=2e-4)


def test_a_reward_model_is_not_compared_on_conversations(here, tiny, tuned):
    job = here(evaluate_reply(tiny, tuned("reward")), holdout=rows_of("chat", 4))
    assert job.run() == 2
    failed = job.server.events[-1]
    assert failed["reason"] == "bad_data" and "pairs" in failed["message"]


def test_unpaired_rows_are_answered_where_good_and_scored_separately_where_bad(here, tiny, tuned):
    rows = rows_of("unpaired", 10, first=101)
    job, result, answers = evaluated(here, tiny, tuned("kto"), "unpaired", rows)
    good = {row["id"] for row in rows if row["label"]}
    assert {row_id for _, row_id in answers} == good and result["base"]["rows"] == len(good) == 5
    lines = [e["message"] for e in job.server.of("log") if "labeled as bad" in e["message"]]
    assert [m.split(":")[0] for m in lines] == ["base", "tuned"] and "5 answers" in lines[0]
    tokenizer, model = load_tokenizer(tiny), load_model(tiny, "float32", torch.device("cpu"))
    hand = []
    for row in rows:
        if not row["label"]:
            prompt = {"messages": row["messages"][:-1]}
            hand += losses_by_hand(model, *ids_of(tokenizer, prompt, row["messages"][-1:]))
    assert float(re.search(r"loss of ([\d.]+)", lines[0])[1]) == pytest.approx(np.mean(hand), abs=1e-3)


def test_texts_are_scored_by_token_and_no_text_is_generated(here, tiny, tuned):
    rows = [*rows_of("text", 5, first=101), {"id": 500, "text": "the assistant says a colour " * 150}]
    _, result, answers = evaluated(here, tiny, tuned("pretrain"), "text", rows)
    tokenizer, model = load_tokenizer(tiny), load_model(tiny, "float32", torch.device("cpu"))
    for row in rows[:5]:
        ids = [*tokenizer(row["text"])["input_ids"], 1]
        hand = losses_by_hand(model, ids, 1)
        answer = answers["base", row["id"]]
        assert answer["loss"] == pytest.approx(np.mean(hand), rel=1e-4) and answer["tokens"] == len(hand)
        assert answer["output"] == "" and answer["expected"] == row["text"] and answer["prompt"] == []
    whole = len(tokenizer(rows[5]["text"])["input_ids"])
    assert whole > 512 and answers["base", 500]["tokens"] == whole  # the end token counts, the first does not
    base, after = result["base"], result["tuned"]
    assert base["rows"] == 6 and base["exact_match"] == {"mean": 0.0, "low": 0.0, "high": 1.0, "count": 0}
    assert "preference" not in base and after["loss"]["mean"] < base["loss"]["mean"]


def test_without_answers_the_interval_is_from_0_to_1():
    scores = RowScores(np.array([2.0]), np.array([1.0]), np.array([2.0]))
    assert side_score(scores, None, 1)["exact_match"] == {"mean": 0.0, "low": 0.0, "high": 1.0, "count": 0}
