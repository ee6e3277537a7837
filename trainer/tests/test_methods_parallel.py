"""Methods that compare answers in two processes: the losses of one process, an end of epoch that does not come out
even, exact resume.
"""

from __future__ import annotations

import pytest
from conftest import losses
from jobs import METHODS, rows_of, train_reply
from pair import Pair, preload
from test_methods import KEYS, series
from test_train import resume_entry

preload()


@pytest.fixture
def pair(tmp_path, tiny):
    """Makes attempts of two ranks of a method; ends what is left of them."""
    made: list[Pair] = []

    def make(method: str, rows: int, **options) -> Pair:
        kind = METHODS[method][0]
        data = {"train": rows_of(kind, rows), "holdout": rows_of(kind, 5, first=101)}
        made.append(Pair(tmp_path / f"pair{len(made)}", train_reply(tiny, method=method, processes=2, **options), data))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("method", ["dpo", "reward"])
def test_two_processes_train_like_one(here, pair, tiny, method):
    kind = METHODS[method][0]
    shared = {"total": 6, "eval_every": 6, "eval_rows": 5, "sample_rows": 1, "accumulation": 2}
    alone = here(
        train_reply(tiny, method=method, batch=4, **shared), rows=rows_of(kind, 22), holdout=rows_of(kind, 5, first=101)
    )
    assert alone.run() == 0
    both = pair(method, 22, batch=2, **shared)
    assert both.run() == 0, both.log()
    assert losses(both.server) == pytest.approx(losses(alone.server), rel=2e-4)
    for name in ("eval/loss", *(f"{when}/{name}" for name in KEYS[method] for when in ("train", "eval"))):
        ours, theirs = (series(server, name) for server in (both.server, alone.server))
        assert len(ours) >= 1 and ours == pytest.approx(theirs, rel=5e-3, abs=2e-3)
    results = [server.of("result")[0]["result"] for server in (alone.server, both.server)]
    assert results[0]["tokens_seen"] == results[1]["tokens_seen"]


@pytest.mark.parametrize("method", ["kto", "orpo"])
def test_an_uneven_last_batch_is_completed_and_resume_is_exact(pair, method):
    # 21 rows in steps of 8: the last step of an epoch has 5, which two ranks cannot share alike.
    options = {"total": 9, "batch": 4, "dropout": 0.2, "log_every": 2, "save_every": 5, "eval_rows": 5}
    whole = pair(method, 21, **options)
    assert whole.run() == 0, whole.log()
    saved = next(a for a in whole.server.complete("checkpoint") if a["step"] == 5)
    again = pair(method, 21, resume=resume_entry(saved), **options)
    assert again.run() == 0, again.log()
    after = {step: loss for step, loss in losses(whole.server).items() if step > 5}
    assert losses(again.server) == pytest.approx(after, rel=1e-6)
    last = [one.server.complete("adapter")[0]["files"] for one in (whole, again)]
    assert last[0] == last[1]
    assert len(series(whole.server, "eval/loss")) == 1
