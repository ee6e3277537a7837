"""Options of a training: schedules, noise on the embeddings, packing, early stopping, and the best checkpoint as the
result.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Here, losses, make_rows
from jobs import rows_of, train_reply
from pair import Pair, preload
from test_train import resume_entry
from transformers import AutoModelForCausalLM, Lfm2Config, MptConfig

from finetune_trainer.data.rows import tokenize
from finetune_trainer.data.tokens import Tokens, flat
from finetune_trainer.model.kernels import compile_layers
from finetune_trainer.model.load import end_token_ids, load_model
from finetune_trainer.model.score import pad_right, score
from finetune_trainer.model.tokenizer import load_tokenizer
from finetune_trainer.protocol.failures import TrainingFailed
from finetune_trainer.spec import support
from finetune_trainer.spec.parse import parse_spec
from finetune_trainer.training.packing import best_fit, isolates_packed_rows, pack, pad_positions

preload()


def reply(tiny: Path, options: dict | None = None, **given) -> dict:
    """A training with these hyperparameters on top."""
    made = train_reply(tiny, **given)
    made["spec"]["hyperparameters"] |= options or {}
    return made


def metric(job, name: str) -> dict[int, float]:
    """A metric by step."""
    return {e["step"]: e["values"][name] for e in job.server.of("metrics") if name in e["values"]}


def adapter_files(job) -> list[dict]:
    """The result's files with their hashes."""
    (adapter,) = job.server.complete("adapter")
    return adapter["files"]


def saved_at(job, step: int) -> dict:
    """The checkpoint of a step."""
    return next(a for a in job.server.complete("checkpoint") if a["step"] == step)


WARM, TOTAL = 2, 10
SHAPES = {
    "linear": lambda at: 1 - at,
    "cosine": lambda at: (1 + math.cos(math.pi * at)) / 2,
    "constant": lambda at: 1,
    "cosine_with_restarts": lambda at: (1 + math.cos(math.pi * (4 * at % 1))) / 2,
    "polynomial": lambda at: (1 - at) ** 2,
    "inverse_sqrt": lambda at: math.sqrt(WARM / (WARM + at * (TOTAL - WARM))),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_learning_rate_follows_its_schedule(here, tiny, name):
    job = here(reply(tiny, {"scheduler": name, "warmup_ratio": WARM / TOTAL}, total=TOTAL, rate=1e-3))
    assert job.run() == 0
    rates = list(metric(job, "train/learning_rate").values())
    expected = [SHAPES[name](step / (TOTAL - WARM)) for step in range(TOTAL - WARM)]
    assert rates == pytest.approx([1e-3 * part for part in [1 / 3, 2 / 3, *expected]], abs=1e-9)


def test_neftune_noise_is_for_training_only_and_resumes_exactly(here, tiny):
    given = {"total": 8, "batch": 6, "eval_rows": 6, "eval_every": 1, "rate": 1e-9}
    plain, noisy = here(reply(tiny, **given)), here(reply(tiny, {"neftune_alpha": 20.0}, save_every=3, **given))
    assert [plain.run(), noisy.run()] == [0, 0]
    assert all(abs(losses(noisy.server)[step] - loss) > 1e-3 for step, loss in losses(plain.server).items())
    assert metric(noisy, "eval/loss") == pytest.approx(metric(plain, "eval/loss"), rel=1e-5)
    again = here(reply(tiny, {"neftune_alpha": 20.0}, resume=resume_entry(saved_at(noisy, 3)), **given))
    assert again.run() == 0
    assert losses(again.server) == {step: loss for step, loss in losses(noisy.server).items() if step > 3}


@pytest.mark.parametrize(
    "lengths", [[5] * 7, [9, 1, 1, 8, 2, 10, 3], list(np.random.default_rng(3).integers(1, 65, 500))]
)
def test_packs_hold_every_row_once_and_are_full(lengths):
    room = 64 if len(lengths) == 500 else 10
    packs = best_fit(np.asarray(lengths), room)
    assert sorted(row for one in packs for row in one) == list(range(len(lengths)))
    fills = [sum(lengths[row] for row in one) for one in packs]
    assert max(fills) <= room
    assert len(packs) <= math.ceil(11 / 9 * sum(lengths) / room + 1)  # what best fit decreasing is known to reach
    assert packs == best_fit(np.asarray(lengths), room)


def loss_of(model, rows: list, positions: torch.Tensor | None = None) -> float:
    """Summed loss in nats of right-padded rows."""
    ids, labels = pad_right(rows, 1)
    with torch.no_grad():
        return float(score(model, ids, labels, positions).nll)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_have_the_loss_they_have_unpacked(tiny, attention):
    model, tokenizer = load_model(tiny, "float32", None), load_tokenizer(tiny)
    model.set_attn_implementation(attention)
    ends = end_token_ids(model, tokenizer)
    tokens = tokenize("chat", tokenizer, make_rows(9), max_length=256, loss_on="all", end_ids=ends)
    packs = pack(tokens, 120)
    assert 1 < len(packs) < len(tokens) and packs.total() == tokens.total()
    alone = sum(loss_of(model, [tokens.row(i)]) for i in range(len(tokens)))
    rows = [packs.row(i) for i in range(len(packs))]
    places = [packs.positions[a:b] for a, b in zip(packs.starts, packs.starts[1:], strict=False)]
    together = loss_of(model, rows, pad_positions(places, max(len(ids) for ids, _ in rows)))
    assert together == pytest.approx(alone, rel=1e-6)
    assert abs(loss_of(model, rows) - alone) > 1e-3 * alone  # what positions keep them from


def test_models_that_mix_packed_rows_are_found(tiny):
    assert isolates_packed_rows(load_model(tiny, "bfloat16", None))
    assert isolates_packed_rows(load_model(tiny, "float32", torch.device("cpu"), "int8"))
    small = {"vocab_size": 64, "initializer_range": 0.2}
    mixers = [
        Lfm2Config(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            layer_types=["conv", "full_attention"],
            **small,
        ),
        MptConfig(d_model=32, n_heads=2, n_layers=2, max_seq_len=64, **small),
    ]
    torch.manual_seed(0)
    assert [isolates_packed_rows(AutoModelForCausalLM.from_config(config)) for config in mixers] == [False, False]


@pytest.mark.parametrize("method", ["sft", "pretrain"])
def test_a_step_over_packs_is_the_step_over_their_rows(here, tiny, method):
    data = {"rows": rows_of("chat" if method == "sft" else "text", 20)}
    given = {"total": 3, "method": method, "max_length": 128}
    whole, packed = (
        here(reply(tiny, batch=20, **given), **data),
        here(reply(tiny, {"packing": True}, batch=20, **given), **data),
    )
    assert [whole.run(), packed.run()] == [0, 0]
    for name in ("train/loss", "train/grad_norm", "train/token_accuracy"):
        assert metric(packed, name) == pytest.approx(metric(whole, name), rel=1e-4)
    plans = [job.server.of("plan")[0] for job in (whole, packed)]
    assert plans[0] == {**plans[1], "seq": plans[0]["seq"], "at": plans[0]["at"]}
    assert metric(packed, "train/loss")[3] < metric(packed, "train/loss")[1]


def test_packs_come_in_the_seeds_order_and_resume_exactly(here, tiny):
    given = {"total": 9, "batch": 2, "max_length": 128, "dropout": 0.1, "rate": 1e-3}
    first = here(reply(tiny, {"packing": True}, save_every=4, **given))
    other = here(reply(tiny, {"packing": True}, seed=2, **given))
    again = here(reply(tiny, {"packing": True}, **given))
    assert [first.run(), other.run(), again.run()] == [0, 0, 0]
    assert losses(first.server) == losses(again.server) != losses(other.server)
    (plan,) = first.server.of("plan")
    assert plan["train_rows"] == 24 and plan["steps_per_epoch"] < 12  # of packs, of which there are fewer
    second = here(reply(tiny, {"packing": True}, resume=resume_entry(saved_at(first, 4)), **given))
    assert second.run() == 0
    assert losses(second.server) == {step: loss for step, loss in losses(first.server).items() if step > 4}
    assert adapter_files(second) == adapter_files(first)


# What is learned from the rows is wrong on these: their loss falls while the form is learned, and rises with the rest.
CONTRARY = [
    {**row, "messages": [row["messages"][0], other["messages"][1]]}
    for row, other in zip(make_rows(6, first=101), make_rows(6, first=102), strict=True)
]
LONG = {"total": 40, "batch": 6, "eval_every": 2, "eval_rows": 6, "rate": 2e-2}


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> dict[int, float]:
    """eval/loss by step of the run that nothing ends early."""
    job = Here(tmp_path_factory.mktemp("whole"), reply(tiny, **LONG), {"train": make_rows(24), "holdout": CONTRARY})
    assert job.run() == 0
    job.server.stop()
    return metric(job, "eval/loss")


def ending(evals: dict[int, float], patience: int) -> int:
    """The step at which early stopping ends a run with these evaluations."""
    best, since = math.inf, 0
    for step, loss in evals.items():
        best, since = (loss, 0) if loss < best else (best, since + 1)
        if since == patience:
            return step
    return max(evals)


def test_a_run_ends_early_and_its_result_is_the_best_checkpoint(here, tiny, whole):
    end = ending(whole, 3)
    assert end < 40, "nothing ended early"
    options = {"early_stopping": 3, "keep_best": True}
    job = here(reply(tiny, options, **LONG), holdout=CONTRARY)
    assert job.run() == 0
    seen = {step: loss for step, loss in whole.items() if step <= end}
    assert metric(job, "eval/loss") == seen
    best = min(seen, key=seen.get)
    (result,) = (e["result"] for e in job.server.of("result"))
    assert (result["steps"], result["best_step"], result["ended_early"]) == (end, best, True)
    assert result["eval_loss"] == seen[best]
    assert any("ended early" in e["message"] and f"step {best}" in e["message"] for e in job.server.of("log"))
    assert job.server.events[-1]["outcome"] == "succeeded" and job.server.of("progress")[-1]["fraction"] == 1
    weights = {f["path"]: f["sha256"] for f in adapter_files(job)}["adapter_model.safetensors"]
    of = {a["step"]: {f["path"]: f["sha256"] for f in a["files"]} for a in job.server.complete("checkpoint")}
    assert of[best]["adapter_model.safetensors"] == weights == of[end]["best.safetensors"]
    # From the middle, and from the end itself: the same end, the same adapter, and no step too many.
    for step in (best, end):
        again = here(reply(tiny, options, resume=resume_entry(saved_at(job, step)), **LONG), holdout=CONTRARY)
        assert again.run() == 0
        (last,) = (e["result"] for e in again.server.of("result"))
        assert (last["steps"], last["best_step"], last["tokens_seen"]) == (end, best, result["tokens_seen"])
        assert last["train_loss"] == pytest.approx(result["train_loss"], rel=1e-6)
        assert adapter_files(again) == adapter_files(job)


def test_with_early_stopping_only_the_result_is_the_last_checkpoint(here, tiny, whole):
    job = here(reply(tiny, {"early_stopping": 3}, **LONG), holdout=CONTRARY)
    assert job.run() == 0
    (result,) = (e["result"] for e in job.server.of("result"))
    assert result["steps"] == ending(whole, 3) and "best_step" not in result
    assert result["eval_loss"] == whole[result["steps"]]


def test_a_run_resumed_at_its_end_takes_no_further_step(here, tiny):
    first = here(reply(tiny, total=4))
    assert first.run() == 0
    second = here(reply(tiny, total=4, resume=resume_entry(saved_at(first, 4))))
    assert second.run() == 0
    assert losses(second.server) == {} and adapter_files(second) == adapter_files(first)
    results = [job.server.of("result")[0]["result"] for job in (first, second)]
    assert results[0]["steps"] == results[1]["steps"] == 4 and results[0]["tokens_seen"] == results[1]["tokens_seen"]


def test_two_ranks_end_at_one_step_with_everything_on(tiny, tmp_path):
    options = {"early_stopping": 2, "keep_best": True, "packing": True, "neftune_alpha": 5.0}
    asked = reply(
        tiny,
        options,
        processes=2,
        settings={"quantization": "nf4"},
        total=40,
        batch=1,
        eval_every=2,
        eval_rows=6,
        rate=2e-2,
        max_length=128,
    )
    asked["spec"]["method"]["adapter"]["dora"] = True
    both = Pair(tmp_path / "pair", asked, {"train": make_rows(24), "holdout": CONTRARY})
    try:
        assert both.run() == 0, both.log()
        evals = metric(both, "eval/loss")
        end = ending(evals, 2)
        (result,) = (e["result"] for e in both.server.of("result"))
        assert end == max(evals) < 40 and result["steps"] == end and result["best_step"] == min(evals, key=evals.get)
    finally:
        both.close()


@pytest.mark.parametrize(
    ("options", "given", "word"),
    [
        ({"early_stopping": 2}, {}, "validation"),
        ({"keep_best": True}, {}, "validation"),
        ({"packing": True}, {"method": "dpo"}, "compares"),
    ],
)
def test_options_that_cannot_be_combined_are_refused(here, tiny, options, given, word):
    job = here(reply(tiny, options, **given))
    assert job.run() == 2
    assert job.server.events[-1]["reason"] == "bad_spec" and word in job.server.events[-1]["message"]


def test_rows_may_all_be_longer_than_half_a_pack():
    tokens = Tokens(**flat([(i, np.arange(2, 9, dtype=np.int32), np.arange(2, 9, dtype=np.int32)) for i in range(3)]))
    packs = pack(tokens, 10)
    assert len(packs) == 3 and packs.labels[packs.positions == 0].tolist() == [-100] * 3


@pytest.mark.parametrize(
    ("wanted", "package"),
    [
        ({"attention": "flash_attention_2", "precision": "bfloat16"}, "flash-attn"),
        ({"liger_kernel": True}, "liger-kernel"),
    ],
)
def test_kernels_without_their_package_are_refused_before_a_model_is_loaded(tiny: Path, monkeypatch, wanted, package):
    spec = parse_spec("train", reply(tiny, wanted)["spec"])
    monkeypatch.setattr(support.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingFailed, match=package):
        support.check_packages(spec)
    support.check_packages(parse_spec("train", reply(tiny)["spec"]))


def test_flash_attention_on_a_cpu_ends_the_run_with_the_reason(tiny: Path, here: Here):
    job = here(reply(tiny, {"attention": "flash_attention_2", "precision": "bfloat16"}))
    assert job.run() != 0
    (failed,) = job.server.of("failed")
    assert failed["reason"] == "bad_spec"
    assert "NVIDIA GPUs" in failed["message"]


def test_the_model_uses_the_requested_attention(tiny: Path):
    assert load_model(tiny, "float32", None).config._attn_implementation == "sdpa"
    assert load_model(tiny, "float32", None, attention="eager").config._attn_implementation == "eager"


def test_compiled_layers_train_like_plain_ones(tiny: Path):
    spec = parse_spec("train", reply(tiny, {"torch_compile": True})["spec"])
    ids = torch.randint(5, 100, (2, 12), generator=torch.Generator().manual_seed(1))
    found = []
    for h in (parse_spec("train", reply(tiny)["spec"]).hyperparameters, spec.hyperparameters):
        model = load_model(tiny, "float32", None)
        # This backend traces and differentiates as the real one does, and needs no compiler.
        assert compile_layers(model, h, backend="aot_eager") == (3 if h.torch_compile else 0)
        for length in (12, 7):
            model(input_ids=ids[:, :length], labels=ids[:, :length], use_cache=False).loss.backward()
        found.append(model.model.layers[0].self_attn.q_proj.weight.grad)
    torch.testing.assert_close(*found)
    with pytest.raises(TrainingFailed, match="no layers"):
        compile_layers(torch.nn.Linear(2, 2), spec.hyperparameters)


@pytest.mark.parametrize("method", ["sft", "pretrain"])
def test_a_padding_free_batch_trains_like_a_padded_one(tiny: Path, here: Here, method):
    kind = "chat" if method == "sft" else "text"
    rows = rows_of(kind, 10)
    settings = {"loss_on": "completion"} if method == "sft" else {}
    found = []
    for free in (False, True):
        asked = train_reply(tiny, method=method, settings=settings, total=4, batch=4, rate=1e-2)
        asked["spec"]["hyperparameters"] |= {"padding_free": free}
        job = here(asked, rows=rows)
        assert job.run() == 0
        found.append((list(losses(job.server).values()), job.server.of("first_batch")[0]["rows"]))
    (padded, seen), (free, seen_free) = found
    assert free == pytest.approx(padded, rel=1e-4)
    assert len(free) == 4 and seen_free == seen
