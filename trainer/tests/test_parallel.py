"""Two processes train as one: the same losses, exact resume, commands, the launcher, and a rank that is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import losses, make_rows
from jobs import train_reply
from pair import Pair, forks, free_port, preload
from shards import shard_rank
from test_train import resume_entry

from finetune_trainer.model.artifacts import check_adapter
from finetune_trainer.model.check import read_safetensors_header

preload()


@pytest.fixture
def pair(tmp_path):
    """Makes attempts of two ranks; ends what is left of them."""
    made: list[Pair] = []

    def make(reply: dict, rows: int = 22) -> Pair:
        data = {"train": make_rows(rows), "holdout": make_rows(6, first=101)}
        made.append(Pair(tmp_path / f"pair{len(made)}", reply, data))
        return made[-1]

    yield make
    for one in made:
        one.close()


def two(tiny: Path, **options) -> dict:
    return train_reply(tiny, processes=2, **options)


@pytest.mark.parametrize(
    ("one", "many", "rows"),
    [
        ({"batch": 4}, {"batch": 2}, 22),  # an epoch ends with half a step: one row a rank
        (
            {"batch": 4, "accumulation": 2},
            {"batch": 2, "accumulation": 2},
            25,
        ),  # … with a single row: one rank has none
        ({"batch": 2, "accumulation": 4}, {"batch": 4, "accumulation": 1}, 25),  # the batch cut in another way
    ],
)
def test_two_processes_train_like_one(here, pair, tiny, one, many, rows):
    alone = here(train_reply(tiny, total=8, eval_every=4, eval_rows=6, sample_rows=2, **one), rows=make_rows(rows))
    assert alone.run() == 0
    both = pair(two(tiny, total=8, eval_every=4, eval_rows=6, sample_rows=2, **many), rows=rows)
    assert both.run() == 0, both.log()
    assert losses(both.server) == pytest.approx(losses(alone.server), rel=2e-4)
    for name in ("train/token_accuracy", "train/grad_norm", "eval/loss"):
        ours, theirs = (
            [e["values"][name] for e in server.of("metrics") if name in e["values"]]
            for server in (both.server, alone.server)
        )
        assert len(ours) == len(theirs) > 1 and ours == pytest.approx(theirs, rel=5e-3, abs=2e-2)
    for server in (alone.server, both.server):
        assert [e["seq"] for e in server.events] == list(range(1, len(server.events) + 1))
    results = [server.of("result")[0]["result"] for server in (alone.server, both.server)]
    assert results[0]["tokens_seen"] == results[1]["tokens_seen"]
    assert results[0]["train_loss"] == pytest.approx(results[1]["train_loss"], rel=1e-4)
    assert [s["row_id"] for s in both.server.of("sample")] == [s["row_id"] for s in alone.server.of("sample")]
    (adapter,) = both.server.complete("adapter")
    check_adapter("tuned", adapter["folder"])
    (reference,) = alone.server.complete("adapter")
    shapes = [read_safetensors_header(a["folder"] / "adapter_model.safetensors") for a in (adapter, reference)]
    assert shapes[0] == shapes[1]


def test_pause_reaches_all_ranks_at_one_step_and_resume_is_exact(pair, tiny):
    options = {"total": 24, "batch": 2, "accumulation": 2, "dropout": 0.2, "log_every": 3}
    whole = pair(two(tiny, **options))
    assert whole.run() == 0, whole.log()
    first = pair(two(tiny, **options)).start()
    while len(losses(first.server)) < 2:
        time.sleep(0.005)
    first.server.command("pause", "p1")
    assert first.wait() == 4, first.log()
    assert first.server.events[-1]["outcome"] == "paused"
    assert [e["id"] for e in first.server.of("command_done")] == ["p1"]
    (saved,) = first.server.complete("checkpoint")
    assert 0 < saved["step"] < 24
    second = pair(two(tiny, resume=resume_entry(saved), **options))
    assert second.run() == 0, second.log()
    # A pause between two lines of the log cuts the mean of those steps in two: its last digit may differ. The weights
    # do not.
    assert {**losses(first.server), **losses(second.server)} == pytest.approx(losses(whole.server), rel=1e-6)
    last = [one.server.complete("adapter")[0]["files"] for one in (whole, second)]
    assert last[0] == last[1]


def test_a_checkpoint_of_two_processes_resumes_in_one(here, pair, tiny):
    first = pair(two(tiny, total=8, batch=2, save_every=4))
    assert first.run() == 0, first.log()
    saved = next(a for a in first.server.complete("checkpoint") if a["step"] == 4)
    second = here(train_reply(tiny, total=8, batch=4, resume=resume_entry(saved)), rows=make_rows(22))
    assert second.run() == 0
    after = {step: loss for step, loss in losses(first.server).items() if step > 4}
    assert losses(second.server) == pytest.approx(after, rel=2e-4)
    assert any("2 processes, now there are 1" in e["message"] for e in second.server.of("log"))


def test_checkpoint_on_demand_and_cancel(pair, tiny):
    job = pair(two(tiny, total=5000, batch=2)).start()
    while len(losses(job.server)) < 2:
        time.sleep(0.005)
    job.server.command("checkpoint", "c1")
    while not job.server.of("command_done"):
        time.sleep(0.005)
    assert len(job.server.complete("checkpoint")) == 1
    job.server.command("cancel", "x1")
    assert job.wait() == 4, job.log()
    assert job.server.events[-1]["outcome"] == "cancelled"
    assert [e["id"] for e in job.server.of("command_done")] == ["c1", "x1"]


def test_what_fails_on_all_ranks_ends_all_ranks(pair, tiny):
    job = pair(two(tiny, total=20, batch=2, rate=9.0), rows=0)
    assert job.start().processes[0].join(60) is None
    report = json.loads((job.scratch / "ranks" / "0.json").read_text())
    assert report["failure"]["reason"] == "bad_data" and report["peer"] is False


def ranks_of(job) -> dict[int, int]:
    """Process ids by rank, of a job started through the launcher."""
    return {n: int((job.scratch / "ranks" / f"{n}.pid").read_text()) for n in range(2)}


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_launcher_pauses_on_sigterm_and_a_killed_rank_is_reported(attempt, tiny):
    paused = attempt(two(tiny, total=5000, batch=2)).start()
    killed = attempt(two(tiny, total=5000, batch=2)).start()  # both start at once: importing takes most of the time
    paused.until(lambda: len(losses(paused.server)) > 3)
    paused.process.send_signal(signal.SIGTERM)
    events = paused.wait(code=4)
    assert events[-1]["outcome"] == "paused"
    assert len(paused.server.complete("checkpoint")) == 1
    assert not any(running(pid) for pid in ranks_of(paused).values())

    killed.until(lambda: len(losses(killed.server)) > 3)
    pids = ranks_of(killed)
    os.kill(pids[1], signal.SIGKILL)
    events = killed.wait(code=1)
    failed = [e for e in events if e["type"] == "failed"]
    assert failed == [events[-1]] and killed.server.final
    assert failed[0]["message"].startswith("rank 1 of 2") and failed[0]["advice"] and failed[0]["retry"] is True
    assert not any(running(pid) for pid in pids.values())
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))


def test_a_strategy_whose_package_is_missing_says_what_to_install(here, tiny):
    job = here(two(tiny, total=2, batch=2, strategy="zero3"))
    assert job.run() == 2
    failed = job.server.events[-1]
    assert failed["reason"] == "bad_spec" and "deepspeed" in failed["message"] and "Install" in failed["advice"]


def test_sharded_weights_train_save_load_and_answer_like_full_ones(tiny, tmp_path):
    port = free_port()
    ranks = [forks.Process(target=shard_rank, args=(rank, 2, port, str(tiny), str(tmp_path))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        process.kill()
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert "error" not in found, found["error"]
        assert found["in_parts"] and found["slots"] and found["same"] and found["went_on"]
        assert found["ours"] == pytest.approx(found["theirs"], rel=1e-5)
        assert found["ours"][2] < found["ours"][0] and found["gap"] < 1e-5
        assert found["answers"][0] == found["answers"][1]
