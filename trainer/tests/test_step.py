"""One training step: its calls come in the order that is written down, and the loop answers every call of a trainer."""

from __future__ import annotations

import inspect
import re

from conftest import Here, make_rows
from jobs import train_reply

from finetune_trainer import training
from finetune_trainer.training.guard import Guard
from finetune_trainer.training.hooks import TrainingHooks
from finetune_trainer.training.loop import Loop
from finetune_trainer.training.methods import sft
from finetune_trainer.training.methods.common import ResumableTrainerMixin

CALLS = [
    (Loop, "on_train_begin"),
    (Loop, "on_step_begin"),
    (ResumableTrainerMixin, "training_step"),
    (Loop, "first_batch"),
    (ResumableTrainerMixin, "_prepare_inputs"),
    (sft.SftMethod, "compute_loss"),
    (Loop, "on_step_end"),
    (ResumableTrainerMixin, "log"),
    (Loop, "report"),
    (Guard, "check"),
    (ResumableTrainerMixin, "_evaluate"),
    (Loop, "evaluate"),
    (sft.SftMethod, "evaluate_rows"),
    (ResumableTrainerMixin, "_save_checkpoint"),
    (Loop, "save"),
    (Loop, "on_train_end"),
    (Loop, "finish"),
]


def test_the_calls_of_a_step_have_the_documented_order(monkeypatch, tiny, tmp_path):
    seen: list[str] = []

    def watch(owner: type, name: str) -> None:
        own = getattr(owner, name)

        def call(*args, **given):
            seen.append(name)
            return own(*args, **given)

        monkeypatch.setattr(owner, name, call)

    for owner, name in CALLS:
        watch(owner, name)
    reply = train_reply(tiny, total=1, batch=4, accumulation=2, eval_every=1, save_every=1, eval_rows=2)
    job = Here(tmp_path, reply, {"train": make_rows(8), "holdout": make_rows(2, first=101)})
    assert job.run() == 0
    job.server.stop()
    assert seen[0] == "on_train_begin"
    # The memory dry run before the step calls compute_loss too; Trainer logs a summary after the loop, which is no
    # metric.
    step, end = seen[seen.index("on_step_begin") :], seen.index("on_train_end")
    step = [name for at, name in enumerate(step) if name != "log" or at == step.index("log")]
    assert seen[end - 1] == "log"
    micro = ["training_step", "first_batch", "_prepare_inputs", "compute_loss"]
    again = [name for name in micro if name != "first_batch"]
    after = [name for _, name in CALLS[CALLS.index((Loop, "on_step_end")) :]]
    assert step == ["on_step_begin", *micro, *again, *after]

    places = [re.search(rf"\b{name}\b", training.__doc__.partition("one optimizer step:")[2]) for _, name in CALLS]
    assert all(places)
    order = [place.start() for place in places[1:-2]]
    assert order == sorted(order)


def test_the_loop_answers_every_call_of_a_trainer():
    calls = {name for name, value in vars(TrainingHooks).items() if inspect.isfunction(value) and name[0] != "_"}
    calls -= {"_no_init_or_replace_init"}
    assert calls == {"first_batch", "report", "evaluate", "save"}
    for name in calls:
        own, asked = (inspect.signature(getattr(owner, name)) for owner in (Loop, TrainingHooks))
        assert name in vars(Loop) and own == asked
