"""Optimizers: each learns, resumes exactly from a checkpoint without pickles, and keeps the state that the memory dry
run and the plan count on.
"""

from __future__ import annotations

import math

import pytest
import torch
from conftest import losses
from pair import preload
from safetensors.torch import load_file
from test_options import reply, saved_at
from test_train import resume_entry
from transformers import Trainer, TrainingArguments

from finetune_trainer.training.optimizers import ARGUMENTS, state_like

preload()

RATES = {"adamw": 1e-2, "adamw_8bit": 1e-2, "adafactor": 1e-2, "lion": 2e-3, "sgd": 1.0}
SLOTS = {
    "adamw": {"exp_avg", "exp_avg_sq", "step"},
    "adamw_8bit": {"state1", "state2", "qmap1", "qmap2", "absmax1", "absmax2", "step"},
    "adafactor": {"exp_avg_sq_row", "exp_avg_sq_col", "RMS", "step"},
    "lion": {"state1", "step"},
    "sgd": set(),
}


def test_every_optimizer_is_tried():
    assert set(RATES) == set(SLOTS) == set(ARGUMENTS)


@pytest.mark.parametrize("name", RATES)
def test_an_optimizer_learns_and_resumes_exactly(here, tiny, name):
    def job(**more):
        made = reply(tiny, {"optimizer": name}, total=8, batch=6, rate=RATES[name], **more)
        made["spec"]["method"]["adapter"]["r"] = 64  # smaller matrices have no state in 8 bits
        return here(made)

    whole = job(save_every=4)
    assert whole.run() == 0
    lost = losses(whole.server)
    assert lost[8] < 0.9 * lost[1]
    saved = saved_at(whole, 4)
    again = job(resume=resume_entry(saved))
    assert again.run() == 0
    assert losses(again.server) == {step: loss for step, loss in lost.items() if step > 4}
    state = load_file(saved["folder"] / "optimizer.safetensors")
    assert {key.rpartition("/")[2] for key in state} == SLOTS[name]


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("shape", [(128, 64), (16, 8), (24,)])
def test_the_state_is_as_large_as_the_dry_run_holds(tmp_path, name, shape):
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.ones(shape))
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], **ARGUMENTS[name])
    optimizer = Trainer(model, arguments, train_dataset=[]).create_optimizer()
    held = sum(tensor.nbytes for tensor in state_like(optimizer, model.weight))
    model.weight.grad = torch.ones(shape)
    optimizer.step()
    (state,) = list(optimizer.state.values()) or [{}]
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor) and value.dim()]
    kept = sum(tensor.nbytes for tensor in tensors if tensor.numel() < 256 or tensor.shape == shape)
    scales = 2 * 4 * math.prod(shape) / 256 if name == "adamw_8bit" else 0
    assert held == pytest.approx(kept, abs=scales + 1)
