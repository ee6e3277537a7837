"""Adapters and quantized bases: each kind learns and resumes exactly, evaluates as it was trained, and continues from a
fine-tuned model.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import Here, losses, make_rows
from jobs import METHODS, evaluate_reply, rows_of, train_reply
from safetensors.torch import load_file
from test_train import resume_entry

from finetune_trainer.model.load import load_model

LAYERS = {"none": "Linear", "nf4": "Linear4bit", "int8": "Linear8bitLt"}
KINDS = {"lora": {}, "rslora": {"rslora": True}, "dora": {"dora": True}}


def reply(tiny: Path, *, adapter: dict | None = None, start: Path | None = None, **options) -> dict:
    """A training with these fields of the adapter; `start` is the directory of the adapter it continues from."""
    made = train_reply(tiny, **options)
    made["spec"]["method"]["adapter"] |= adapter or {}
    if start is not None:
        made["spec"]["start"] = {"model": "ft:before", "checkpoint_id": "c", "artifact_id": "a"}
        made["inputs"]["start"] = {"local_path": str(start), "files": []}
    return made


def result_of(job) -> Path:
    """The folder of a run's result."""
    (adapter,) = job.server.complete("adapter")
    return adapter["folder"]


def evals(job) -> list[float]:
    """eval/loss in order."""
    return [e["values"]["eval/loss"] for e in job.server.of("metrics") if "eval/loss" in e["values"]]


@pytest.mark.parametrize(
    ("quantization", "kind", "precision"),
    [
        ("none", "rslora", "float32"),
        ("none", "dora", "float32"),
        ("nf4", "lora", "float32"),
        ("nf4", "lora", "bfloat16"),
        ("nf4", "rslora", "float32"),
        ("nf4", "dora", "float32"),
        ("int8", "lora", "float32"),
        ("int8", "lora", "bfloat16"),
        ("int8", "dora", "float32"),
    ],
)
def test_each_adapter_learns_on_each_base_and_resumes_exactly(here, tiny, quantization, kind, precision):
    options = {
        "total": 12, "batch": 6, "dropout": 0.1, "precision": precision, "eval_every": 4, "eval_rows": 6,
        "adapter": KINDS[kind], "settings": {"quantization": quantization},
    }  # fmt: skip
    first = here(reply(tiny, save_every=5, **options))
    assert first.run() == 0
    curve = losses(first.server)
    assert curve[12] < 0.8 * curve[1] and evals(first)[-1] < evals(first)[0]
    saved = next(a for a in first.server.complete("checkpoint") if a["step"] == 5)
    second = here(reply(tiny, resume=resume_entry(saved), **options))
    assert second.run() == 0
    assert losses(second.server) == {step: loss for step, loss in curve.items() if step > 5}
    files = [one.server.complete("adapter")[0]["files"] for one in (first, second)]
    assert files[0] == files[1]
    tensors = load_file(result_of(first) / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    magnitudes = [name for name in tensors if "lora_magnitude_vector" in name]
    assert len(magnitudes) == (len(tensors) // 3 if kind == "dora" else 0)
    (plan,) = first.server.of("plan")  # weights that are packed count as what they hold
    plain = sum(p.numel() for p in load_model(tiny, "float32", None).parameters())
    assert plan["total_parameters"] - plan["trainable_parameters"] == plain


@pytest.mark.parametrize("quantization", LAYERS)
def test_the_layers_alone_are_quantized_and_nothing_is_kept_twice(tiny, quantization):
    model = load_model(tiny, "float32", torch.device("cpu"), quantization)
    kinds = {type(m).__name__ for name, m in model.named_modules() if name.endswith("_proj")}
    assert kinds == {LAYERS[quantization]}
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert type(head) is torch.nn.Linear and head.weight.data_ptr() == embedding.weight.data_ptr()
    assert {p.dtype for name, p in model.named_parameters() if "norm" in name} == {torch.float32}
    plain = load_model(tiny, "float32", torch.device("cpu"))
    sizes = [sum(p.numel() * p.element_size() for n, p in m.named_parameters() if "_proj" in n) for m in (model, plain)]
    assert sizes[0] / sizes[1] == {"none": 1, "nf4": 0.125, "int8": 0.25}[quantization]
    # What bitsandbytes would do for speed on some CPUs, and what breaks training afterwards.
    assert not any(getattr(m, "support_avx512bf16_for_cpu", False) for m in model.modules())


def test_an_evaluation_loads_the_base_as_it_was_trained_on(here, tiny):
    job = here(train_reply(tiny, total=16, batch=6, eval_rows=6, settings={"quantization": "nf4"}))
    assert job.run() == 0
    found = {}
    for quantization in ("nf4", "none"):
        ask = evaluate_reply(tiny, result_of(job))
        ask["spec"]["quantization"] = quantization
        run = here(ask)
        assert run.run() == 0
        found[quantization] = run.server.of("result")[0]["result"]["tuned"]["loss"]["mean"]
    assert found["nf4"] == pytest.approx(evals(job)[-1], rel=1e-4)
    assert abs(found["none"] - found["nf4"]) > 1e-3


@pytest.mark.parametrize(("quantization", "kind"), [("none", "dora"), ("nf4", "lora")])
def test_a_run_continues_from_a_fine_tuned_model_with_a_new_optimizer(here, tiny, quantization, kind):
    options = {"batch": 6, "eval_rows": 6, "adapter": KINDS[kind], "settings": {"quantization": quantization}}
    before = here(reply(tiny, total=16, **options))
    assert before.run() == 0
    after = here(reply(tiny, total=1, rate=1e-9, start=result_of(before), **options))
    assert after.run() == 0
    assert evals(after)[-1] == pytest.approx(evals(before)[-1], rel=1e-5)
    (saved,) = after.server.complete("checkpoint")
    steps = {
        float(t) for name, t in load_file(saved["folder"] / "optimizer.safetensors").items() if name.endswith("/step")
    }
    assert steps == {1.0}
    again = here(reply(tiny, total=10, start=result_of(before), save_every=4, **options))
    assert again.run() == 0
    assert max(losses(again.server).values()) < losses(before.server)[1] / 2
    middle = next(a for a in again.server.complete("checkpoint") if a["step"] == 4)
    resumed = here(reply(tiny, total=10, start=result_of(before), resume=resume_entry(middle), **options))
    assert resumed.run() == 0
    assert resumed.server.complete("adapter")[0]["files"] == again.server.complete("adapter")[0]["files"]


@pytest.fixture(scope="module")
def tuned(tiny, tmp_path_factory) -> Path:
    """An adapter of rank 4, scale 2, on all layers."""
    job = Here(tmp_path_factory.mktemp("before"), train_reply(tiny, total=1), {"train": make_rows(8)})
    assert job.run() == 0
    job.server.stop()
    return result_of(job)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"rank": 8}, "lora_r"),
        ({"adapter": {"alpha": 4}}, "lora_alpha"),
        ({"adapter": {"rslora": True}}, "rslora"),
        ({"adapter": {"dora": True}}, "dora"),
        ({"layers": 1}, "lora_layers"),
        ({"adapter": {"target_modules": ["q_proj", "v_proj"]}}, "target_modules"),
    ],
)
def test_a_start_of_another_shape_is_refused(here, tiny, tuned, options, word):
    job = here(reply(tiny, start=tuned, **options))
    assert job.run() == 2
    failed = job.server.events[-1]
    assert failed["reason"] == "bad_spec" and failed["retry"] is False
    assert "another adapter" in failed["message"] and word in failed["advice"]


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_reference_of_a_comparison_is_the_model_it_starts_from(here, tiny, tuned, method):
    kind = METHODS[method][0]
    data = {"rows": rows_of(kind, 12), "holdout": rows_of(kind, 6, first=101)}
    first = here(reply(tiny, total=6, method=method, start=tuned, save_every=3), **data)
    assert first.run() == 0
    rewards = [e["values"] for e in first.server.of("metrics") if "train/loss" in e["values"]]
    assert rewards[0]["train/reward_margin"] == pytest.approx(0, abs=1e-5)  # with the bare base it would not be 0
    if method == "dpo":
        assert losses(first.server)[1] == pytest.approx(math.log(2), rel=1e-5)
    middle = next(a for a in first.server.complete("checkpoint") if a["step"] == 3)
    second = here(reply(tiny, total=6, method=method, start=tuned, resume=resume_entry(middle)), **data)
    assert second.run() == 0
    assert losses(second.server) == {step: loss for step, loss in losses(first.server).items() if step > 3}


def test_a_reward_model_starts_from_a_language_model_and_not_the_reverse(here, tiny, tuned):
    data = {"rows": rows_of("preference", 8), "holdout": rows_of("preference", 6, first=101)}
    reward = here(reply(tiny, total=2, method="reward", start=tuned), **data)
    assert reward.run() == 0
    back = here(reply(tiny, total=2, start=result_of(reward)))
    assert back.run() == 2
    assert "score" in back.server.events[-1]["message"]
