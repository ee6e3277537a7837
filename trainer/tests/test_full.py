"""Full fine-tuning: every weight learns as in plain TRL, checkpoints resume exactly, and the result is a model that
needs no other.
"""

from __future__ import annotations

import torch
from conftest import FORKED, Here, losses, make_rows
from jobs import evaluate_reply, full_reply, rows_of, serve_reply, train_reply
from pytest import approx, fixture, mark
from safetensors import safe_open
from test_train import resume_entry
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from finetune_trainer.model.check import read_safetensors_header


@fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A run of 24 steps with checkpoints: its server."""
    data = {"train": make_rows(24), "holdout": make_rows(6, first=101)}
    given = {"total": 24, "batch": 6, "save_every": 8, "eval_every": 8, "eval_rows": 6, "sample_rows": 1}
    job = Here(tmp_path_factory.mktemp("full"), full_reply(tiny, **given), data)
    assert job.run() == 0
    job.server.stop()
    return job.server


def result_of(server):
    (found,) = server.complete("model")
    return found["folder"]


def test_full_fine_tuning_trains_every_weight_and_the_result_is_a_full_model(trained, tiny):
    (plan,) = trained.of("plan")
    assert plan["trainable_parameters"] == plan["total_parameters"]
    curve = losses(trained)
    assert curve[24] < curve[1] / 3
    folder = result_of(trained)
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not names & {"optimizer.safetensors", "rng.json", "trainer_state.json", "adapter_config.json"}
    assert trained.of("result")[0]["result"]["adapter_artifact"] == trained.complete("model")[0]["id"]
    model, base = (AutoModelForCausalLM.from_pretrained(path) for path in (folder, tiny))
    before = dict(base.named_parameters())
    assert all(not torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())
    assert AutoTokenizer.from_pretrained(folder).chat_template == AutoTokenizer.from_pretrained(tiny).chat_template


def test_a_tied_head_is_stored_once(trained):
    names = set(read_safetensors_header(result_of(trained) / "model.safetensors")) - {"__metadata__"}
    assert "model.embed_tokens.weight" in names and "lm_head.weight" not in names


def test_an_interrupted_run_ends_like_an_uninterrupted_one(trained, here, tiny):
    middle = next(a for a in trained.complete("checkpoint") if a["step"] == 8)
    given = {"total": 24, "batch": 6, "save_every": 8, "eval_every": 8, "eval_rows": 6, "sample_rows": 1}
    again = here(full_reply(tiny, resume=resume_entry(middle), **given))
    assert again.run() == 0
    assert losses(again.server) == {step: loss for step, loss in losses(trained).items() if step > 8}
    hashes = [{f["path"]: f["sha256"] for f in s.complete("model")[0]["files"]} for s in (trained, again.server)]
    assert hashes[0] == hashes[1]


def test_it_is_evaluated_against_its_base(trained, here, tiny):
    job = here(evaluate_reply(tiny, result_of(trained)), holdout=make_rows(6, first=101))
    assert job.run() == 0
    result = job.server.of("result")[0]["result"]
    assert result["tuned"]["loss"]["mean"] < result["base"]["loss"]["mean"] / 2
    last = [e["values"] for e in trained.of("metrics") if "eval/loss" in e["values"]][-1]
    assert result["tuned"]["loss"]["mean"] == approx(last["eval/loss"], rel=1e-4)


def test_it_is_served_under_its_own_name_without_the_base(trained, here, tiny):
    reply = serve_reply(tiny, {})
    reply["spec"]["whole"] = {"name": "ft:whole", "artifact_id": "a", "input": "whole"}
    reply["inputs"]["whole"] = {"local_path": str(result_of(trained)), "files": []}
    job = here(reply)
    thread = job.start()
    while not job.server.of("ready"):
        assert thread.is_alive()
        thread.join(0.02)
    assert job.server.of("ready")[0]["models"] == ["ft:whole"]
    job.server.command("cancel")
    thread.join()


def test_another_run_continues_from_it_and_an_adapter_cannot(trained, here, tiny):
    start = result_of(trained)
    again = here(full_reply(tiny, start=start, total=1, batch=6, rate=1e-4))
    assert again.run() == 0
    assert losses(again.server)[1] < losses(trained)[1] / 3
    other = full_reply(tiny, start=start, total=1)
    other["spec"]["method"]["adapter"] = train_reply(tiny)["spec"]["method"]["adapter"]
    refused = here(other)
    assert refused.run() != 0
    assert "trained the other way" in refused.server.of("failed")[0]["message"]


def test_a_full_reward_model_can_be_continued(trained, here, tiny):
    data = {"rows": rows_of("preference", 12), "holdout": rows_of("preference", 6, first=101)}
    first = here(full_reply(tiny, method="reward", start=result_of(trained), total=20, batch=6), **data)
    assert first.run() == 0
    folder = result_of(first.server)
    model, loading = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"] and model.config.num_labels == 1
    again = here(full_reply(tiny, method="reward", start=folder, total=1, batch=12, rate=1e-4), **data)
    assert again.run() == 0
    assert losses(again.server)[1] < losses(first.server)[1] / 2
    chat = here(full_reply(tiny, start=folder, total=1))
    assert chat.run() == 2
    assert "'score'" in chat.server.of("failed")[0]["message"]


@mark.parametrize("method", ["sft", "pretrain"])
def test_bfloat16_computes_in_it_and_keeps_float32_weights(here, tiny, method):
    rows = rows_of("chat" if method == "sft" else "text", 12)
    runs = [here(full_reply(tiny, total=3, method=method, precision=p), rows=rows) for p in ("bfloat16", "float32")]
    assert [run.run() for run in runs] == [0, 0]
    half, single = (losses(run.server) for run in runs)
    assert half != single and list(half.values()) == approx(list(single.values()), rel=0.05)
    with safe_open(result_of(runs[0].server) / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in list(file.keys())} == {torch.float32}


def test_the_best_step_is_the_result_with_keep_best(here, tiny):
    reply = full_reply(tiny, total=30, batch=6, rate=5e-3, eval_every=5, eval_rows=6)
    reply["spec"]["hyperparameters"] |= {"keep_best": True}
    # The validation rows have the colors swapped: once these are learned the loss on them rises.
    odd = [{**row, "id": 200 + i} for i, row in enumerate(make_rows(7, first=1)[1:])]
    for row, other in zip(odd, odd[1:] + odd[:1], strict=True):
        row["messages"] = [row["messages"][0], other["messages"][1]]
    job = here(reply, holdout=odd)
    assert job.run() == 0
    evals = {e["step"]: e["values"]["eval/loss"] for e in job.server.of("metrics") if "eval/loss" in e["values"]}
    best = min(evals, key=evals.get)
    assert best < 30
    assert job.server.complete("model")[0]["step"] == best
    found = {f["path"]: f["sha256"] for f in job.server.complete("model")[0]["files"]}
    kept = next(a for a in job.server.complete("checkpoint") if a["step"] == best)
    last = max(job.server.complete("checkpoint"), key=lambda a: a["step"])
    assert "best.safetensors" in {f["path"] for f in last["files"]}
    assert found["model.safetensors"] == {f["path"]: f["sha256"] for f in kept["files"]}["model.safetensors"]


def test_two_processes_train_like_one(attempt, here, tiny):
    one = here(full_reply(tiny, total=4, batch=6, save_every=2))
    assert one.run() == 0
    two = attempt(full_reply(tiny, total=4, batch=3, processes=2, save_every=2)).start(FORKED)
    two.wait(timeout=120)
    assert list(losses(two.server).values()) == approx(list(losses(one.server).values()), rel=1e-4)
