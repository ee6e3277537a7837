"""GRPO: the reward rises, the run resumes exactly, graders that fail are counted or end the job, and prompts stay
whole.
"""

from __future__ import annotations

import numpy as np
import pytest
from jobs import full_reply, rows_of, train_reply
from pair import preload
from test_train import resume_entry

from finetune_trainer.data import exact
from finetune_trainer.data.rows import question_of, tokenize
from finetune_trainer.data.tool_calls.answers import Answer
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.protocol.failures import BadData
from finetune_trainer.training.grade import ANSWERS_PER_REQUEST, parts

preload()


def series(server, name: str) -> list[float]:
    """The values of a metric in order."""
    return [e["values"][name] for e in server.of("metrics") if name in e["values"]]


def as_trained(server) -> dict[int, tuple[float, ...]]:
    """The metrics of each step that depend on the model."""
    names = ("train/loss", "train/grad_norm", "train/reward", "train/kl", "train/completion_length")
    return {e["step"]: tuple(e["values"][n] for n in names) for e in server.of("metrics") if names[0] in e["values"]}


@pytest.fixture
def job(here, tiny):
    """Makes attempts of GRPO on prompts."""

    def make(grader=None, resume=None, settings=None, reply=train_reply, **options):
        reply = reply(tiny, method="grpo", settings=settings, resume=resume, **options)
        reply["spec"]["hyperparameters"] |= {"keep_best": options.get("eval_rows", 0) > 0}
        run = here(reply, rows=rows_of("prompt", 12), holdout=rows_of("prompt", 4, first=101))
        if grader:
            run.server.grader = grader
        return run

    return make


def test_the_reward_rises_and_the_best_adapter_is_the_result(job):
    run = job(total=30, batch=4, rate=2e-2, eval_every=10, eval_rows=4, sample_rows=1, save_every=15)
    assert run.run() == 0
    server = run.server
    rewards = series(server, "train/reward")
    # A random model says the letter about once in a hundred.
    assert np.mean(rewards[:3]) < 0.1 and np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.3
    held = series(server, "eval/reward")
    assert len(held) == 3 and held[-1] > 0.3
    for name in ("reward_std", "groups_alike", "kl", "entropy", "completion_length", "completions_cut"):
        assert len(series(server, f"train/{name}")) == 30
    assert series(server, "train/kl")[-1] > series(server, "train/kl")[0]
    assert set(series(server, "train/grader_errors")) == {0.0}
    assert all("reward" in sample for sample in server.of("sample"))
    (result,) = server.of("result")
    assert result["result"]["best_step"] == 10 * (1 + int(np.argmax(held)))
    assert not server.of("first_batch")  # there is none before it is written


def test_in_full_fine_tuning_the_reward_rises_and_the_reference_is_the_start(job):
    run = job(total=30, batch=4, rate=2e-3, reply=full_reply)
    assert run.run() == 0
    rewards, kl = series(run.server, "train/reward"), series(run.server, "train/kl")
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.3
    assert kl[0] == pytest.approx(0, abs=1e-6) and kl[-1] > 0.01
    assert run.server.complete("model")


@pytest.mark.parametrize(("reply", "kind"), [(train_reply, "adapter"), (full_reply, "model")])
def test_a_resumed_run_ends_like_an_uninterrupted_one(job, reply, kind):
    options = {"total": 6, "batch": 2, "accumulation": 2, "save_every": 3, "dropout": 0.2, "reply": reply}
    if kind == "model":
        options["rate"] = 2e-3
    whole = job(**options)
    assert whole.run() == 0
    saved = next(a for a in whole.server.complete("checkpoint") if a["step"] == 3)
    again = job(resume=resume_entry(saved), **options)
    assert again.run() == 0
    expected = {step: values for step, values in as_trained(whole.server).items() if step > 3}
    assert as_trained(again.server) == expected
    last = [one.server.complete(kind)[0]["files"] for one in (whole, again)]
    assert last[0] == last[1]


@pytest.mark.parametrize("loss_type", ["dr_grpo", "bnpo", "dapo"])
def test_the_other_losses_train(job, loss_type):
    run = job(total=2, batch=2, settings={"loss_type": loss_type})
    assert run.run() == 0
    assert len(series(run.server, "train/loss")) == 2


def test_a_grader_that_fails_on_some_answers_is_counted_and_one_that_fails_on_all_ends_the_job(job):
    calls = []

    def every_other(_, output):
        calls.append(output)
        if len(calls) % 2:
            raise ValueError("division by zero")
        return 1.0

    some = job(every_other, total=2, batch=2)
    assert some.run() == 0
    assert series(some.server, "train/grader_errors") == [0.5, 0.5]
    assert series(some.server, "train/reward") == [0.5, 0.5]
    assert any("division by zero" in line["message"] for line in some.server.of("log"))

    def never(_item, _output):
        raise ValueError("KeyError: 'answer'")

    none = job(never, total=2, batch=2)
    assert none.run() == 1
    failed = none.server.events[-1]
    assert failed["reason"] == "grader_failed" and f"all {ANSWERS_PER_REQUEST} answers" in failed["message"]
    assert "KeyError: 'answer'" in failed["message"] and "graders/run" in failed["advice"]


def test_a_busy_server_is_asked_for_grades_again_and_a_refusal_ends_the_job(job):
    busy = job(total=1, batch=2)
    busy.server.not_graded = [429, 503]
    assert busy.run() == 0
    assert busy.server.not_graded == [] and series(busy.server, "train/grader_errors") == [0.0]

    refused = job(total=1, batch=2)
    refused.server.not_graded = [422]
    assert refused.run() == 1
    failed = refused.server.events[-1]
    assert (
        failed["reason"] == "grader_failed" and "cannot be used" in failed["message"] and "sandbox" in failed["message"]
    )


def test_a_prompt_that_leaves_no_token_for_an_answer_is_dropped(tiny):
    tokenizer = load_tokenizer(tiny)
    rows = rows_of("prompt", 5)
    options = {"loss_on": "completion", "end_ids": {1}}
    every = tokenize("prompt", tokenizer, rows, max_length=256, **options)
    text = tokenizer.decode(every.row(0)[0])
    assert text.endswith("<|im_start|>assistant\n") and every.items[1] == {"colour": "blue"}
    lengths = every.lengths()
    short = tokenize("prompt", tokenizer, rows, max_length=int(lengths.min()), **options)
    assert short.dropped == int((lengths > lengths.min()).sum()) and short.cut == 0
    assert question_of(rows[0], "prompt") == (rows[0]["messages"], Answer(""))
    with pytest.raises(BadData, match="longer than 8 tokens"):
        tokenize("prompt", tokenizer, rows, max_length=8, **options)


def test_requests_for_grades_are_small():
    samples = [{"item": {"text": "x" * 900_000}, "output": "y"} for _ in range(3)]
    assert [len(part) for part in parts(samples)] == [2, 1]
    assert [len(part) for part in parts([{"item": {}, "output": ""}] * 19)] == [8, 8, 3]


def test_rows_are_sent_to_the_grader_with_the_digits_that_they_have():
    text = '{"a":1.0,"b":[2.50,1e5,"3.0"],"c":9007199254740993,"d":0.12345678901234567890}'
    assert exact.dumps(exact.loads(text)).decode() == text
