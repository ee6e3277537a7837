"""DeepSpeed's ZeRO in two processes on CPUs: they learn what one learns, and a resumed run ends like an
uninterrupted one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PACKAGE, losses, make_rows
from jobs import train_reply
from test_train import resume_entry

DEEPSPEED = Path(os.environ.get("FTL_TEST_DEEPSPEED", PACKAGE.parent / ".cache/deepspeed"))
pytestmark = pytest.mark.skipif(
    not (DEEPSPEED / "deepspeed").is_dir(), reason=f"no DeepSpeed at {DEEPSPEED} (the test command puts it there)"
)
PATHS = [str(PACKAGE), str(PACKAGE / "tests/stand_in/zero"), str(DEEPSPEED)]
WITH_IT = {"DS_ACCELERATOR": "cpu", "PYTHONPATH": os.pathsep.join(PATHS)}
PRELOADED = PACKAGE.parent / "test/support/preloaded.py"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python whose trainers, launchers and ranks are forks of one that has loaded DeepSpeed too."""
    place = tmp_path_factory.mktemp("preloaded")
    env = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HF_HOME": str(place / "hf"), **WITH_IT}
    argv = [sys.executable, "-IuB", str(PRELOADED), "serve", str(place), *PATHS]
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield str(place / "bin/python-forked")
        process.stdin.close()


@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_two_processes_train_like_one_and_resume_exactly_after_a_memory_test(attempt, here, tiny, python, strategy):
    rows, schedule = make_rows(22), {"total": 6, "eval_every": 3, "eval_rows": 6}
    alone = here(train_reply(tiny, batch=4, **schedule), rows=rows)
    assert alone.run() == 0
    given = {**schedule, "batch": 2, "processes": 2, "strategy": strategy, "save_every": 3}
    both = attempt(train_reply(tiny, **given), rows=rows, **WITH_IT).start(python)
    both.wait(timeout=300)
    assert losses(both.server) == pytest.approx(losses(alone.server), rel=2e-4)
    without = attempt(train_reply(tiny, **given), rows=rows, FTL_TEST_NO_CANARY="1", **WITH_IT).start(python)
    without.wait(timeout=300)
    assert [len(one.server.of("canary")) for one in (both, without)] == [1, 0]
    assert losses(without.server) == losses(both.server)
    middle = next(one for one in both.server.complete("checkpoint") if one["step"] == 3)
    again = attempt(train_reply(tiny, resume=resume_entry(middle), **given), rows=rows, **WITH_IT).start(python)
    again.wait(timeout=300)
    assert losses(again.server) == {step: loss for step, loss in losses(both.server).items() if step > 3}
    files = [one.server.complete("adapter")[0]["files"] for one in (both, without, again)]
    assert files[0] == files[1] == files[2]
    assert len(again.server.of("canary")) == 1
