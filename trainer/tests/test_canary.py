"""The canary: it comes first, leaves no trace in the run, and stops one that does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import losses
from jobs import METHODS, need, rows_of, train_reply

from finetune_trainer.data.template import render
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.training import canary, loop


def prompts_of(model, rows: list[dict]) -> list[list[int]]:
    """Tokens of the prompts of rows."""
    tokenizer = load_tokenizer(model)
    return [
        tokenizer(render(tokenizer, row["messages"], None, prompt=True), add_special_tokens=False)["input_ids"]
        for row in rows
    ]


def outcome(job) -> tuple[dict, dict]:
    """Everything a run measured of the model, by step, and its result."""
    assert job.run() == 0
    measured = [
        (e["step"], key, value)
        for e in job.server.of("metrics")
        for key, value in e["values"].items()
        if not key.startswith(("perf/", "system/"))
    ]
    (result,) = job.server.of("result")
    return measured, result["result"]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_with_a_memory_test_has_the_same_metrics(here, tiny, monkeypatch, method):
    row_type, _ = METHODS[method]
    rows, holdout = rows_of(row_type, 12), rows_of(row_type, 4, 101)
    asked = {"total": 4, "batch": 2, "accumulation": 2, "dropout": 0.3, "eval_every": 2, "eval_rows": 4}
    quantized = {"quantization": "nf4"} if method == "dpo" else None
    job = here(train_reply(tiny, method=method, settings=quantized, **asked), rows, holdout)
    with_it = outcome(job)
    assert len(job.server.of("canary")) == 1
    monkeypatch.setattr(loop.canary, "run", lambda *_: None)
    without = outcome(here(train_reply(tiny, method=method, settings=quantized, **asked), rows, holdout))
    assert with_it[0] == without[0] and len(with_it[0]) > 8
    assert with_it[1]["train_loss"] == without[1]["train_loss"]
    assert with_it[1]["tokens_seen"] == without[1]["tokens_seen"]


def test_it_runs_the_longest_rows_before_the_first_step_and_reports_their_memory(here, tiny):
    job = here(train_reply(tiny, total=2, batch=3))
    assert job.run() == 0
    (event,) = job.server.of("canary")
    phases = [e["phase"] for e in job.server.of("phase")]
    assert phases.index("canary") + 1 == phases.index("training")
    first_step = next(e for e in job.server.of("metrics"))
    assert event["seq"] < first_step["seq"]
    assert event["rows"] == 3 and event["length"] > 20
    assert 100 < event["peak_memory_mb"] <= job.server.of("result")[0]["result"]["peak_memory_mb"]


def test_completions_of_the_memory_test_have_the_max_length_and_are_not_graded(here, tiny):
    graded = []
    job = here(train_reply(tiny, method="grpo", total=1, batch=2), rows_of("prompt", 6))
    job.server.grader = lambda item, output: graded.append(output) or float(len(output))
    assert job.run() == 0
    (event,) = job.server.of("canary")
    (step,) = [e["values"] for e in job.server.of("metrics") if "train/loss" in e["values"]]
    prompt = max(len(ids) for ids in prompts_of(tiny, rows_of("prompt", 6)))
    assert event["rows"] == 2 and event["length"] == prompt + 8
    assert step["train/completion_length"] <= 8 and len(graded) == 8  # those of the step alone


def test_a_run_that_exceeds_its_plan_by_far_fails_before_its_first_step(here, tiny):
    reply = train_reply(tiny, total=2)
    reply["spec"]["need"] = need(memory_mb=20)
    job = here(reply)
    assert job.run() == 1
    (failed,) = job.server.of("failed")
    assert failed["reason"] == "out_of_memory" and failed["retry"] is False
    assert "20 MB were planned" in failed["message"] and "took" in failed["message"]
    assert len(job.server.of("canary")) == 1 and not losses(job.server)


def test_a_machine_out_of_memory_is_reported(here, tiny, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("transformers.Trainer.training_step", full)
    job = here(train_reply(tiny, total=2))
    assert job.run() == 1
    (failed,) = job.server.of("failed")
    assert failed["reason"] == "out_of_memory" and "do not fit" in failed["message"]


def test_ranks_divide_the_longest_rows():
    lengths = np.array([5, 9, 2, 8, 7])
    assert canary.longest_rows(lengths, 2, 0, 2) == [1, 4] and canary.longest_rows(lengths, 2, 1, 2) == [3, 0]
    assert canary.longest_rows(np.array([3]), 4, 1, 2) == [0]
