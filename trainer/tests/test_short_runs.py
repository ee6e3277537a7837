"""Short runs learn from their first step on, and a run that learned nothing says so."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Here, losses, make_rows
from jobs import METHODS, full_reply, rows_of, train_reply
from test_options import metric, resume_entry, saved_at
from transformers import get_scheduler

from finetune_trainer.training.methods.common import SCHEDULES
from finetune_trainer.training.warmup import learn_from_first_step, warmup_steps

NAMES = ["linear", "cosine", "constant", "cosine_with_restarts", "polynomial", "inverse_sqrt"]


def rates(name: str, ratio: float, total: int, short: bool = True) -> list[float]:
    """The learning rates of a run at rate 1, by the schedule that the trainer uses or by transformers' own."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, settings = SCHEDULES.get(name, (name, {}))
    warmup = warmup_steps(ratio, total) if short else math.ceil(ratio * total)
    made = get_scheduler(schedule, optimizer, warmup, total, scheduler_specific_kwargs=settings)
    if short:
        made = learn_from_first_step(made, warmup, total)
    found = []
    for _ in range(total):
        found.append(made.get_last_lr()[0])
        optimizer.step()
        made.step()
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ratio", [0.0, 0.03, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("total", [1, 2, 3, 5, 9, 10, 11, 40, 99])
def test_every_step_of_a_short_run_has_a_rate_and_the_first_ones_no_warm_up(name, ratio, total):
    found = rates(name, ratio, total)
    assert min(found) > 0
    warmup = 0 if total < 10 else math.ceil(ratio * total)
    assert found[: warmup + 1] == pytest.approx([(step + 1) / (warmup + 1) for step in range(warmup + 1)])
    if total >= 10:  # after the warm-up it is transformers' own schedule
        assert found[warmup:] == rates(name, ratio, total, short=False)[warmup:]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("ratio", "total"), [(0.0, 100), (0.1, 100), (0.1, 199), (0.03, 1000)])
def test_a_long_run_has_the_schedule_it_always_had(name, ratio, total):
    assert rates(name, ratio, total) == rates(name, ratio, total, short=False)


@pytest.mark.parametrize("method", METHODS)
def test_one_step_learns(here, tiny, method):
    reply = train_reply(tiny, total=1, method=method)
    reply["spec"]["hyperparameters"]["warmup_ratio"] = 0.1
    job = here(reply, rows_of(METHODS[method][0], 8))
    job.server.grader = lambda _, output: sum(map(ord, output)) % 97  # completions differ in reward
    assert job.run() == 0
    assert list(metric(job, "train/learning_rate").values()) == [1e-2]
    (result,) = job.server.of("result")
    assert "warnings" not in result["result"]


def test_a_run_that_resumes_within_its_warm_up_has_the_same_rates_and_losses(here, tiny):
    def asked(**given):
        reply = train_reply(tiny, total=12, dropout=0.1, **given)
        reply["spec"]["hyperparameters"]["warmup_ratio"] = 0.4
        return reply

    whole = here(asked(save_every=3))
    assert whole.run() == 0
    rest = here(asked(resume=resume_entry(saved_at(whole, 3))))
    assert rest.run() == 0
    for values in (lambda job: losses(job.server), lambda job: metric(job, "train/learning_rate")):
        assert values(rest) == {step: value for step, value in values(whole).items() if step > 3}
    assert metric(whole, "train/learning_rate")[1] == pytest.approx(1e-2 / 6)


# So small that no weight changes in float32.
NOTHING = 1e-46
ZERO, SAME, STUCK = "the adapter is all zero", "every weight is the one that the run started with", "at every step"


def warnings(job: Here) -> str:
    """The result's warnings, which are in the log too."""
    (result,) = job.server.of("result")
    found = result["result"].get("warnings", [])
    logged = [e["message"] for e in job.server.of("log") if e["level"] == "warn"]
    assert all(warning in logged for warning in found)
    return "\n".join(found)


@pytest.mark.parametrize(
    ("full", "rate", "batch", "says", "not_said"),
    [
        (False, NOTHING, 8, [ZERO, STUCK], [SAME]),
        (False, NOTHING, 3, [ZERO], [SAME, STUCK]),
        (True, NOTHING, 8, [SAME, STUCK], [ZERO]),
        (False, 1e-2, 8, [], [ZERO, SAME, STUCK]),
        (True, 1e-3, 8, [], [ZERO, SAME, STUCK]),
    ],
)
def test_a_run_that_learned_nothing_says_so(here, tiny, full, rate, batch, says, not_said):
    job = here((full_reply if full else train_reply)(tiny, total=3, batch=batch, rate=rate), make_rows(8))
    assert job.run() == 0
    found = warnings(job)
    assert all(text in found for text in says), found
    assert not any(text in found for text in not_said), found


def test_a_run_whose_completions_are_all_worth_the_same_says_so(here, tiny):
    job = here(train_reply(tiny, total=2, method="grpo"), rows_of("prompt", 8))
    job.server.grader = lambda *_: 0.5
    assert job.run() == 0
    assert ZERO in warnings(job) and "must differ in reward" in warnings(job)


def test_a_run_that_continues_and_learned_nothing_says_so(here, tiny, adapters):
    def continued(rate: float) -> Here:
        reply = train_reply(tiny, total=2, rank=8, rate=rate)
        reply["spec"]["start"] = {"model": "ft:a.1", "checkpoint_id": "c", "artifact_id": "a"}
        reply["inputs"]["start"] = {"local_path": str(adapters["ft:a.1"]), "files": []}
        job = here(reply)
        assert job.run() == 0
        return job

    assert SAME in warnings(continued(NOTHING))
    assert warnings(continued(1e-3)) == ""
