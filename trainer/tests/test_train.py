"""Training: a whole run, exact resume after pause, kill and in mid-window, commands, and the ways it can fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import losses, make_rows
from jobs import train_reply

from finetune_trainer.model.adapter import attach
from finetune_trainer.model.check import read_safetensors_header
from finetune_trainer.protocol.files import sha256_file
from finetune_trainer.training import train


def resume_entry(artifact: dict) -> dict:
    return {
        "checkpoint_id": "c",
        "step": artifact["step"],
        "local_path": str(artifact["folder"]),
        "files": artifact["files"],
    }


def test_a_run_reports_everything_in_order_and_learns(here, tiny):
    job = here(train_reply(tiny, total=40, batch=6, save_every=20, eval_every=10, eval_rows=6, sample_rows=2))
    assert job.run() == 0
    events = job.server.events
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert events[0] == {**events[0], "type": "phase", "phase": "starting"}
    assert events[-1]["type"] == "finished" and events[-1]["outcome"] == "succeeded"
    assert job.server.final
    (plan,) = job.server.of("plan")
    assert plan["total_steps"] == 40 and plan["steps_per_epoch"] == 4 and plan["train_rows"] == 24
    assert 0 < plan["trainable_parameters"] < plan["total_parameters"]
    curve = losses(job.server)
    assert sorted(curve) == list(range(1, 41))
    assert curve[40] < curve[1] / 3
    evals = {e["step"]: e["values"] for e in job.server.of("metrics") if "eval/loss" in e["values"]}
    assert sorted(evals) == [10, 20, 30, 40] and evals[40]["eval/loss"] < evals[10]["eval/loss"]
    samples = {(e["step"], e["row_id"]): e for e in job.server.of("sample")}
    assert set(samples) == {(20, 101), (20, 102), (40, 101), (40, 102)}
    assert samples[40, 101]["expected"] == '{"colour": "blue"}' and samples[40, 101]["prompt"][0]["role"] == "user"
    (result,) = job.server.of("result")
    assert result["result"]["steps"] == 40 and result["result"]["tokens_seen"] == 10 * plan["train_tokens_per_epoch"]
    assert result["result"]["train_loss"] == pytest.approx(sum(curve.values()) / 40, rel=1e-5)
    assert {a["step"] for a in job.server.complete("checkpoint")} == {20, 40}
    (adapter,) = job.server.complete("adapter")
    assert result["result"]["adapter_artifact"] == adapter["id"]
    assert sorted(f["path"] for f in adapter["files"]) == ["adapter_config.json", "adapter_model.safetensors"]
    progress = job.server.of("progress")
    assert progress[-1]["fraction"] == 1 and progress[-1]["eta_s"] == 0
    lines = [e["message"] for e in job.server.of("log")]
    assert [line for line in lines if line in ("loading data", "loading model", "sampling")][:2] == [
        "loading data",
        "loading model",
    ]
    steps = [line for line in lines if line.startswith("step ") and ": loss" in line]
    assert len(steps) == 40 and steps[39].startswith(f"step 40/40: loss {curve[40]:.4g}, learning rate ")
    assert sum(": eval/loss" in line for line in lines) == 4


def test_a_checkpoint_holds_only_safetensors_and_json(here, tiny):
    job = here(train_reply(tiny, total=2))
    assert job.run() == 0
    (checkpoint,) = job.server.complete("checkpoint")
    names = sorted(f["path"] for f in checkpoint["files"])
    assert names == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.safetensors",
        "rng.json",
        "trainer_state.json",
    ]
    for file in checkpoint["folder"].iterdir():
        if file.suffix == ".safetensors":
            assert read_safetensors_header(file)
        else:
            json.loads(file.read_text())
    config = json.loads((checkpoint["folder"] / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("tiny", "r1")


LOADS = """
import sys
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
print(type(model).__name__, model.get_base_model().config.hidden_size, model.active_adapter)
"""


@pytest.mark.parametrize("commit", ["0123456789abcdef0123456789abcdef01234567", None])
def test_another_program_loads_the_adapter_by_its_directory_alone(here, tiny, tmp_path, commit):
    reply = train_reply(tiny, total=1)
    reply["spec"]["base_model"]["hub"] = {"repo": "acme/tiny", "revision": commit}
    job = here(reply)
    assert job.run() == 0
    (adapter,) = job.server.complete("adapter")
    # The hub's cache as a download leaves it; the other branch holds another model.
    repository = tmp_path / "hub/models--acme--tiny"
    snapshot = commit or "f" * 40
    shutil.copytree(tiny, repository / "snapshots" / snapshot)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("e" * 40 if commit else snapshot)
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOADS, str(adapter["folder"])]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "PeftModelForCausalLM 64 default\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("stop_at", "options"),
    [
        (5, {}),  # in the middle of the first epoch
        (12, {"dropout": 0.3}),  # on an epoch's edge, random states matter
        (15, {"dropout": 0.3, "accumulation": 2, "batch": 2}),  # in the middle of a later epoch, two micro-batches
        (8, {"log_every": 3}),  # in the middle of a log window
    ],
)
def test_a_paused_run_resumes_as_if_it_had_not_paused(here, tiny, stop_at, options):
    whole = here(train_reply(tiny, total=20, **options))
    assert whole.run() == 0
    first = here(train_reply(tiny, total=20, save_every=stop_at, **options))
    # The checkpoint of step `stop_at` is what a pause there uploads; the run behind it is thrown away.
    assert first.run() == 0
    checkpoint = next(a for a in first.server.complete("checkpoint") if a["step"] == stop_at)
    second = here(train_reply(tiny, total=20, resume=resume_entry(checkpoint), **options))
    assert second.run() == 0
    expected = {step: loss for step, loss in losses(whole.server).items() if step > stop_at}
    assert losses(second.server) == expected
    last = [a.server.complete("adapter")[0]["files"] for a in (whole, second)]
    assert last[0] == last[1]
    results = [a.server.of("result")[0]["result"] for a in (whole, second)]
    assert results[0]["tokens_seen"] == results[1]["tokens_seen"]
    assert results[0]["train_loss"] == pytest.approx(results[1]["train_loss"], rel=1e-6)


def test_pause_uploads_a_checkpoint_and_resume_is_exact(here, tiny):
    whole = here(train_reply(tiny, total=60, dropout=0.1))
    assert whole.run() == 0
    first = here(train_reply(tiny, total=60, dropout=0.1))
    thread = first.start()
    while len(losses(first.server)) < 3:
        time.sleep(0.005)
    first.server.command("pause", "p1")
    thread.join()
    assert first.code == 4
    assert first.server.events[-1]["outcome"] == "paused"
    assert [e["id"] for e in first.server.of("command_done")] == ["p1"]
    (checkpoint,) = first.server.complete("checkpoint")
    assert 0 < checkpoint["step"] < 60
    second = here(train_reply(tiny, total=60, dropout=0.1, resume=resume_entry(checkpoint)))
    assert second.run() == 0
    assert {**losses(first.server), **losses(second.server)} == losses(whole.server)


def test_checkpoint_on_demand_and_cancel(here, tiny):
    job = here(train_reply(tiny, total=5000))
    thread = job.start()
    while len(losses(job.server)) < 2:
        time.sleep(0.005)
    job.server.command("checkpoint", "c1")
    while not job.server.of("command_done"):
        time.sleep(0.005)
    assert len(job.server.complete("checkpoint")) == 1
    seen = len(losses(job.server))
    while len(losses(job.server)) <= seen:
        time.sleep(0.005)  # it continues
    job.server.command("cancel", "x1")
    thread.join()
    assert job.code == 4
    assert job.server.events[-1] == {**job.server.events[-1], "type": "finished", "outcome": "cancelled"}
    assert [e["id"] for e in job.server.of("command_done")] == ["c1", "x1"]


def test_sigterm_pauses_a_process(attempt, tiny):
    job = attempt(train_reply(tiny, total=5000)).start()
    job.until(lambda: len(losses(job.server)) > 3)
    job.process.send_signal(signal.SIGTERM)
    events = job.wait(code=4)
    assert events[-1]["outcome"] == "paused"
    assert len(job.server.complete("checkpoint")) == 1


def test_killed_in_mid_save_it_resumes_from_the_previous_checkpoint(attempt, here, tiny):
    job = attempt(train_reply(tiny, total=400, save_every=4, dropout=0.1, rank=8)).start()
    job.until(lambda: len(job.server.complete("checkpoint")) >= 2)
    # A half-written directory or a half-sent artifact is what a kill at this moment leaves.
    job.until(
        lambda: (
            list(job.scratch.glob("checkpoints/.step-*"))
            or any(not a["complete"] for a in job.server.artifacts.values())
        )
    )
    os.kill(job.process.pid, signal.SIGKILL)
    job.wait(code=-9)
    newest = max(job.server.complete("checkpoint"), key=lambda a: a["step"])
    for file in newest["files"]:
        assert sha256_file(newest["folder"] / file["path"]) == file["sha256"]
    total = newest["step"] + 6
    whole = here(train_reply(tiny, total=400, save_every=4, dropout=0.1, rank=8))
    thread = whole.start()
    while total not in losses(whole.server):
        time.sleep(0.01)
    whole.server.command("cancel")
    thread.join()
    again = here(train_reply(tiny, total=400, save_every=4, dropout=0.1, rank=8, resume=resume_entry(newest)))
    thread = again.start()
    while total not in losses(again.server):
        time.sleep(0.01)
    again.server.command("cancel")
    thread.join()
    after = losses(again.server)
    assert min(after) == newest["step"] + 1
    for step in range(newest["step"] + 1, total + 1):
        assert after[step] == losses(whole.server)[step] == losses(job.server).get(step, after[step])


def test_a_checkpoint_of_another_run_is_refused(here, tiny):
    first = here(train_reply(tiny, total=2, rank=4))
    assert first.run() == 0
    checkpoint = first.server.complete("checkpoint")[0]
    second = here(train_reply(tiny, total=4, rank=8, resume=resume_entry(checkpoint)))
    assert second.run() == 1
    assert second.server.events[-1]["reason"] == "model_load"


def test_only_the_top_layers_are_trained(here, tiny):
    job = here(train_reply(tiny, total=2, layers=1))
    assert job.run() == 0
    names = read_safetensors_header(job.server.complete("adapter")[0]["folder"] / "adapter_model.safetensors")
    assert names and all(".layers.2." in n for n in names)


def test_no_gradient_runs_below_the_lowest_trained_layer(here, tiny, monkeypatch):
    seen: list[bool] = []

    def watched(*given):
        model = attach(*given)
        for layer in model.get_base_model().model.layers[:2]:
            layer.register_forward_hook(lambda layer, _, out: seen.append(layer.training and out.requires_grad))
        return model

    monkeypatch.setattr(train, "attach", watched)
    runs = [here(train_reply(tiny, total=2, layers=1, gradient_checkpointing=on)) for on in (False, True)]
    assert [r.run() for r in runs] == [0, 0]
    assert losses(runs[0].server) == pytest.approx(losses(runs[1].server), rel=1e-5)
    assert seen and not any(seen)


def test_gradient_checkpointing_changes_nothing_but_memory(here, tiny):
    runs = [here(train_reply(tiny, total=4, gradient_checkpointing=on)) for on in (False, True)]
    assert [r.run() for r in runs] == [0, 0]
    assert losses(runs[0].server) == pytest.approx(losses(runs[1].server), rel=1e-5)


@pytest.mark.parametrize(
    ("reply", "rows", "code", "reason", "word"),
    [
        ({"rate": 9.9e9}, None, 2, "bad_spec", "learning_rate"),
        ({}, [], 2, "bad_data", "no row is left"),
        ({}, [{"id": 1, "messages": [{"role": "user", "content": "hm"}]}], 2, "bad_data", "weight 1"),
    ],
)
def test_what_cannot_work_is_reported(here, tiny, reply, rows, code, reason, word):
    job = here(train_reply(tiny, **reply), rows=rows)
    assert job.run() == code
    failed = job.server.events[-1]
    assert failed["type"] == "failed" and failed["reason"] == reason and word in failed["message"] and failed["advice"]


def test_a_loss_that_is_not_finite_stops_the_run(here, tiny, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    job = here(train_reply(broken, total=10))
    assert job.run() == 1
    failed = job.server.events[-1]
    assert failed["reason"] == "nan_loss" and "learning rate" in failed["advice"] and failed["retry"] is False
    assert job.server.of("metrics")[0]["values"]["train/loss"] == "NaN"
    assert not job.server.complete("checkpoint")


def test_a_missing_base_file_is_a_model_that_cannot_be_loaded(here, tiny):
    reply = train_reply(tiny)
    reply["inputs"]["base"]["files"][0]["size"] += 1
    job = here(reply)
    assert job.run() == 1
    assert job.server.events[-1]["reason"] == "model_load"


def test_rows_are_truncated_dropped_and_counted(here, tiny):
    rows = make_rows(8)
    rows[0]["messages"][0]["content"] = "long " * 100
    rows[1]["messages"][1]["content"] = "answer " * 100
    job = here(train_reply(tiny, total=1, max_length=64), rows=rows)
    assert job.run() == 0
    (plan,) = job.server.of("plan")
    assert (plan["rows_cut"], plan["rows_dropped"], plan["train_rows"]) == (2, 1, 7)
    assert any("truncated" in e["message"] for e in job.server.of("log"))


def test_scratch_does_not_keep_old_checkpoints(here, tiny):
    job = here(train_reply(tiny, total=30, save_every=2))
    assert job.run() == 0
    assert len(list(Path(job.scratch, "checkpoints").iterdir())) <= 4
    assert len(job.server.complete("checkpoint")) >= 12
