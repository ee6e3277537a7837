"""The methods beside supervised fine-tuning: that each learns, reports by its keys, resumes exactly, and says what
cannot work.
"""

from __future__ import annotations

import shutil
import time

import pytest
from conftest import losses
from jobs import METHODS, full_reply, rows_of, train_reply
from safetensors.torch import load_file, save_file
from test_train import resume_entry

from finetune_trainer.model.check import read_safetensors_header

NEW = [name for name in METHODS if name not in ("sft", "grpo")]  # GRPO has no loss that falls: test_grpo.py
REWARDS = ["reward_accuracy", "reward_margin", "reward_chosen", "reward_rejected"]
# What a method reports beside loss, learning rate and gradient norm.
KEYS = {
    "pretrain": ["token_accuracy"],
    "dpo": REWARDS,
    "orpo": REWARDS,
    "kto": ["reward_margin", "reward_chosen", "reward_rejected", "kl"],
    "reward": REWARDS,
}


@pytest.fixture
def job(here, tiny):
    """Makes attempts of a method on rows of its own type."""

    def make(method: str, rows: int = 24, weights: str = "adapter", **options):
        kind, reply = METHODS[method][0], full_reply if weights == "full" else train_reply
        return here(
            reply(tiny, method=method, **options), rows=rows_of(kind, rows), holdout=rows_of(kind, 6, first=101)
        )

    return make


def series(server, name: str) -> list[float]:
    """The values of a metric in order."""
    return [e["values"][name] for e in server.of("metrics") if name in e["values"]]


@pytest.mark.parametrize("weights", ["adapter", "full"])
@pytest.mark.parametrize("method", NEW)
def test_each_method_learns_and_reports_by_its_keys(job, method, weights):
    options = {"rate": 2e-3, "weights": "full"} if weights == "full" else {}
    run = job(
        method, total=40, batch=6, log_every=5, eval_every=20, eval_rows=6, sample_rows=2, save_every=20, **options
    )
    assert run.run() == 0
    server = run.server
    assert [e["seq"] for e in server.events] == list(range(1, len(server.events) + 1))
    curve = losses(server)
    assert sorted(curve) == list(range(5, 41, 5)) and curve[40] < 0.75 * curve[5]
    for name in KEYS[method]:
        assert len(series(server, f"train/{name}")) == 8
        assert len(series(server, f"eval/{name}")) == 2
    evals = series(server, "eval/loss")
    assert len(evals) == 2 and evals[1] < evals[0]
    if method in ("dpo", "reward"):
        assert series(server, "train/reward_accuracy")[-1] == 1.0 == series(server, "eval/reward_accuracy")[-1]
    if "reward_margin" in KEYS[method] and method != "orpo":  # ORPO's rewards lie close together
        margins = series(server, "train/reward_margin")
        assert margins[-1] > 1 > margins[0]
        chosen, rejected = (series(server, f"eval/reward_{side}")[-1] for side in ("chosen", "rejected"))
        assert chosen - rejected == pytest.approx(series(server, "eval/reward_margin")[-1], abs=1e-5)
    (plan,) = server.of("plan")
    assert plan["total_steps"] == 40 and plan["train_rows"] == 24 and plan["rows_split"] == 0
    (result,) = server.of("result")
    assert result["result"]["tokens_seen"] == 10 * plan["train_tokens_per_epoch"]
    assert result["result"]["eval_loss"] == evals[1]
    samples = server.of("sample")
    assert len(samples) == (0 if method in ("pretrain", "reward") else 4)
    kind, file = ("model", "model") if weights == "full" else ("adapter", "adapter_model")
    names = read_safetensors_header(server.complete(kind)[0]["folder"] / f"{file}.safetensors")
    assert any(n.endswith("score.weight") for n in names) == (method == "reward")
    assert not any(".ref." in n for n in names)


@pytest.mark.parametrize(
    ("method", "weights"), [*((m, "adapter") for m in NEW), ("dpo", "full"), ("kto", "full"), ("reward", "full")]
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(job, method, weights):
    options = {
        "weights": weights,
        "total": 14,
        "dropout": 0.3,
        "log_every": 3,
        "save_every": 7,
        "batch": 3,
        "accumulation": 2,
        "rows": 23,
    }
    whole = job(method, **options)  # the checkpoint of step 7 is within a log window and an epoch
    assert whole.run() == 0
    saved = next(a for a in whole.server.complete("checkpoint") if a["step"] == 7)
    again = job(method, resume=resume_entry(saved), **options)
    assert again.run() == 0
    for name in ("loss", "grad_norm", *KEYS[method]):
        before = {e["step"]: e["values"][f"train/{name}"] for e in whole.server.of("metrics")}
        after = {e["step"]: e["values"][f"train/{name}"] for e in again.server.of("metrics")}
        assert after == {step: value for step, value in before.items() if step > 7}
    kind = "model" if weights == "full" else "adapter"
    last = [one.server.complete(kind)[0]["files"] for one in (whole, again)]
    assert last[0] == last[1]
    results = [one.server.of("result")[0]["result"] for one in (whole, again)]
    assert results[0]["tokens_seen"] == results[1]["tokens_seen"]


@pytest.mark.parametrize("method", ["dpo", "reward"])
def test_checkpoint_on_demand_and_pause(job, method):
    run = job(method, total=5000)
    thread = run.start()
    while len(losses(run.server)) < 2:
        time.sleep(0.005)
    run.server.command("checkpoint", "c1")
    while not run.server.of("command_done"):
        time.sleep(0.005)
    run.server.command("pause", "p1")
    thread.join()
    assert run.code == 4 and run.server.events[-1]["outcome"] == "paused"
    assert [e["id"] for e in run.server.of("command_done")] == ["c1", "p1"]
    first, second = run.server.complete("checkpoint")
    assert first["step"] < second["step"] < 5000


def test_a_method_and_rows_that_do_not_fit_are_refused_by_the_table(here, tiny):
    reply = train_reply(tiny, method="dpo", total=2)
    reply["spec"]["dataset"]["row_type"] = "chat"
    run = here(reply)
    assert run.run() == 2
    failed = run.server.events[-1]
    assert failed["reason"] == "bad_spec" and "learns from pairs" in failed["message"]
    assert not any(e["type"] == "phase" and e["phase"] == "loading_data" for e in run.server.events)


@pytest.mark.parametrize("method", NEW)
def test_a_file_of_other_rows_is_refused_with_its_line(here, tiny, method):
    kind = METHODS[method][0]
    rows = [*rows_of(kind, 2), *rows_of("chat", 1)]
    run = here(train_reply(tiny, method=method, total=2), rows=rows)
    assert run.run() == 2
    failed = run.server.events[-1]
    assert failed["reason"] == "bad_data" and "line 3" in failed["message"] and kind in failed["message"]


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_rows_whose_answers_are_all_truncated_are_an_error(job, method):
    run = job(method, total=2, max_length=8)
    assert run.run() == 2
    failed = run.server.events[-1]
    assert failed["reason"] == "bad_data" and "no row is left" in failed["message"] and "24" in failed["message"]


def test_a_pair_with_one_answer_truncated_away_is_dropped(here, tiny):
    rows = rows_of("preference", 6)
    rows[0]["messages"][0]["content"] = "long " * 60
    rows[1]["rejected"][0]["content"] = "answer " * 60
    run = here(train_reply(tiny, method="dpo", total=1, batch=3, max_length=64), rows=rows)
    assert run.run() == 0
    (plan,) = run.server.of("plan")
    assert (plan["rows_cut"], plan["rows_dropped"], plan["train_rows"]) == (2, 1, 5)


def test_long_texts_become_several_rows_and_lose_nothing(here, tiny):
    rows = [{"id": 1, "text": "a b c d e f g h " * 20}, {"id": 2, "text": "short"}, {"id": 3, "text": " \n"}]
    run = here(train_reply(tiny, method="pretrain", total=1, batch=2, max_length=32), rows=rows)
    assert run.run() == 0
    (plan,) = run.server.of("plan")
    assert plan["rows_split"] == 1 and plan["rows_dropped"] == 1 and plan["rows_cut"] == 0
    assert plan["train_rows"] == 2 and plan["sequences"] > 3
    assert any("became several rows" in e["message"] for e in run.server.of("log"))


@pytest.mark.parametrize("method", NEW)
def test_a_loss_that_is_not_finite_stops_the_run(here, tiny, tmp_path, method):
    broken = shutil.copytree(tiny, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    run = here(train_reply(broken, method=method, total=4), rows=rows_of(METHODS[method][0], 8))
    assert run.run() == 1
    failed = run.server.events[-1]
    assert failed["reason"] == "nan_loss" and "learning rate" in failed["advice"]
    assert run.server.of("metrics")[0]["values"]["train/loss"] == "NaN" and not run.server.complete("checkpoint")


@pytest.mark.parametrize("method", ["dpo", "orpo", "kto", "reward"])
def test_gradient_checkpointing_changes_nothing_but_memory(job, method):
    runs = [job(method, rows=8, total=3, gradient_checkpointing=on) for on in (False, True)]
    assert [r.run() for r in runs] == [0, 0]
    assert losses(runs[0].server) == pytest.approx(losses(runs[1].server), rel=1e-5)
