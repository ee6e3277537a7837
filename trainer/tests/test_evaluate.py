"""Evaluation: numbers against a computation by hand, base and tuned on one model, intervals, and stopping."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from conftest import make_rows
from jobs import evaluate_reply, train_reply

from finetune_trainer.data.encoder import tokenize_rows
from finetune_trainer.data.rows import last_answer_only
from finetune_trainer.data.template import render
from finetune_trainer.evaluation.intervals import bootstrap, side_score, wilson
from finetune_trainer.model import checkpoint
from finetune_trainer.model.generate import greedy
from finetune_trainer.model.load import load_model
from finetune_trainer.model.score import RowScores, batches_by_length, score, score_rows
from finetune_trainer.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    from conftest import Here

    data = {"train": make_rows(24), "holdout": make_rows(6, first=101)}
    job = Here(tmp_path_factory.mktemp("train"), train_reply(tiny, total=60, batch=6, rate=2e-2, rank=8), data)
    assert job.run() == 0
    job.server.stop()
    return job.server.complete("adapter")[0]["folder"]


def by_hand(model, tokenizer, row):
    """Loss, right tokens, counted tokens and greedy answer of one row, the slow and plain way."""
    prompt = render(tokenizer, row["messages"][:-1], None, prompt=True)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer_ids = tokenizer(row["messages"][-1]["content"], add_special_tokens=False)["input_ids"] + [1]
    ids = torch.tensor([prompt_ids + answer_ids])
    with torch.no_grad():
        logs = torch.log_softmax(model(ids).logits[0].double(), -1)
    nll = -sum(float(logs[len(prompt_ids) - 1 + i, t]) for i, t in enumerate(answer_ids))
    right = sum(int(logs[len(prompt_ids) - 1 + i].argmax()) == t for i, t in enumerate(answer_ids))
    out = list(prompt_ids)
    with torch.no_grad():
        for _ in range(16):
            token = int(model(torch.tensor([out])).logits[0, -1].argmax())
            if token == 1:
                break
            out.append(token)
    return nll, right, len(answer_ids), tokenizer.decode(out[len(prompt_ids) :], skip_special_tokens=True)


def test_both_sides_agree_with_a_computation_by_hand(here, tiny, adapter):
    from peft import PeftModel

    rows = make_rows(10, first=101)
    job = here(evaluate_reply(tiny, adapter), holdout=rows)
    assert job.run() == 0
    result = job.server.of("result")[0]["result"]
    tokenizer, model = load_tokenizer(tiny), load_model(tiny, "float32", torch.device("cpu"))
    answers = {(e["side"], e["row_id"]): e for e in job.server.of("answer")}
    assert len(answers) == 20
    for side in ("base", "tuned"):
        if side == "tuned":
            model = PeftModel.from_pretrained(model, adapter).eval()
        hand = [by_hand(model, tokenizer, row) for row in rows]
        for row, (nll, right, count, text) in zip(rows, hand, strict=True):
            answer = answers[side, row["id"]]
            assert answer["loss"] == pytest.approx(nll / count, rel=1e-4)
            assert answer["token_accuracy"] == pytest.approx(right / count)
            assert (answer["tokens"], answer["output"]) == (count, text)
            assert answer["expected"] == row["messages"][-1]["content"] and answer["prompt"] == row["messages"][:-1]
            assert answer["exact"] == (text.strip() == answer["expected"])
        totals = [sum(x) for x in list(zip(*hand, strict=True))[:3]]
        scores = result[side]
        assert scores["loss"]["mean"] == pytest.approx(totals[0] / totals[2], rel=1e-4)
        assert scores["perplexity"] == pytest.approx(math.exp(totals[0] / totals[2]), rel=1e-3)
        assert scores["token_accuracy"]["mean"] == pytest.approx(totals[1] / totals[2])
        assert (scores["rows"], scores["tokens"]) == (10, totals[2])
        exact = sum(answers[side, row["id"]]["exact"] for row in rows)
        assert scores["exact_match"]["count"] == exact
        for value in (scores["loss"], scores["token_accuracy"], scores["exact_match"]):
            assert value["low"] <= value["mean"] <= value["high"]
    assert result["tuned"]["loss"]["mean"] < result["base"]["loss"]["mean"] / 3
    assert result["tuned"]["exact_match"]["count"] > result["base"]["exact_match"]["count"] == 0
    assert job.server.of("progress")[-1]["fraction"] == 1


def test_batches_of_long_rows_hold_fewer_of_them():
    lengths = np.asarray([10, 5000, 2000, 1500, 10, 10])
    batches = [batch.tolist() for batch in batches_by_length(lengths, 3)]
    assert batches == [[1], [2, 3], [0, 4, 5]]


def test_the_base_alone_has_no_fine_tuned_side(here, tiny):
    job = here(evaluate_reply(tiny, None, rows=4, tokens=4))
    assert job.run() == 0
    result = job.server.of("result")[0]["result"]
    assert result["tuned"] is None and result["base"]["rows"] == 4


def test_another_fine_tuned_model_answers_in_place_of_the_base(here, tiny, adapter):
    """The same adapter on both sides gives equal answers, and those of the fine-tuned side against the base."""
    jobs = [here(evaluate_reply(tiny, adapter, rows=5, tokens=4, against=other)) for other in (adapter, None)]
    assert [j.run() for j in jobs] == [0, 0]
    twice, usual = (job.server.of("result")[0]["result"] for job in jobs)
    assert twice["base"] == twice["tuned"] == usual["tuned"]
    assert usual["base"]["loss"]["mean"] > 2 * usual["tuned"]["loss"]["mean"]


def test_the_same_job_gives_the_same_result(here, tiny, adapter):
    jobs = [here(evaluate_reply(tiny, adapter, rows=5, tokens=4)) for _ in range(2)]
    assert [j.run() for j in jobs] == [0, 0]
    assert jobs[0].server.of("result")[0]["result"] == jobs[1].server.of("result")[0]["result"]


def test_an_adapter_that_is_a_pickle_is_refused(here, tiny, tmp_path):
    import pickle

    (tmp_path / "adapter_model.safetensors").write_bytes(pickle.dumps({}))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}')
    job = here(evaluate_reply(tiny, tmp_path))
    assert job.run() == 1
    assert job.server.events[-1]["reason"] == "model_load"


def test_cancel_ends_an_evaluation(here, tiny):
    job = here(evaluate_reply(tiny, None, rows=300, tokens=200), holdout=make_rows(300))
    thread = job.start()
    while not job.server.of("answer"):
        time.sleep(0.01)
    job.server.command("cancel", "x")
    thread.join(20)
    assert job.code == 4 and job.server.events[-1]["outcome"] == "cancelled" and not job.server.of("result")


def test_padding_and_batching_change_no_score(tiny):
    tokenizer, model = load_tokenizer(tiny), load_model(tiny, "float32", torch.device("cpu"))
    tokens = tokenize_rows(tokenizer, make_rows(9), max_length=256, loss_on="completion", end_ids={1})
    one, many = score_rows(model, tokens, 1, 1), score_rows(model, tokens, 4, 1)
    assert one.nll == pytest.approx(many.nll, rel=1e-5) and (one.count == many.count).all()
    prompts = [[5, 6, 7] * n for n in (1, 2, 5, 9)]
    settings = {"max_new_tokens": 12, "end_ids": {1}, "pad_id": 1}
    alone = dict(greedy(model, prompts, batch_size=1, **settings))
    assert dict(greedy(model, prompts, batch_size=3, **settings)) == alone


def test_the_loss_over_the_tokens_in_the_loss_is_that_of_the_full_forward(tiny):
    tokenizer, model = load_tokenizer(tiny), load_model(tiny, "float32", torch.device("cpu"))
    tokens = tokenize_rows(tokenizer, make_rows(3), max_length=256, loss_on="completion", end_ids={1})
    ids, labels = (torch.as_tensor(x, dtype=torch.long)[None] for x in tokens.row(2))
    ours = score(model, ids, labels)
    theirs = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
    assert float(ours.nll.detach()) / ours.count == pytest.approx(float(theirs.detach()), rel=1e-5)
    model.config.logit_scale = 2.0  # a model whose head does more takes its own forward
    assert score(model, ids, labels).nll.item() == pytest.approx(ours.nll.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_wilson_intervals_as_published(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)


def test_the_bootstrap_covers_the_mean_and_shrinks_with_rows():
    rng = np.random.default_rng(0)
    few, many = (bootstrap(rng.normal(20, 4, n), np.full(n, 10.0), 1) for n in (20, 2000))
    assert few["low"] < few["mean"] < few["high"]
    assert (many["high"] - many["low"]) == pytest.approx(2 * 1.96 * 0.4 / math.sqrt(2000), rel=0.15)
    assert bootstrap(np.ones(4), np.full(4, 2.0), 1) == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_a_huge_loss_has_a_finite_perplexity():
    scores = RowScores(np.array([5000.0]), np.array([0.0]), np.array([1.0]))
    assert math.isfinite(side_score(scores, np.array([False]), 1)["perplexity"])


def test_only_the_last_answer_is_scored():
    turns = [
        {"role": r, "content": c}
        for r, c in [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    ]
    marked = last_answer_only(turns)
    assert [m.get("weight") for m in marked] == [None, 0, None, 1]


def test_random_states_survive_their_json(tmp_path):
    import random

    (tmp_path / "rng.json").write_text(__import__("json").dumps(checkpoint.rng_state()))
    expected = [random.random(), np.random.rand(), float(torch.rand(1))]
    checkpoint.load_rng(tmp_path)
    assert [random.random(), np.random.rand(), float(torch.rand(1))] == expected
