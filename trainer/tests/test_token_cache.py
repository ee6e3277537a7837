"""Tokenized rows kept between runs: the second run has the same losses, another spec has its own, and a broken
entry is made again.
"""

from __future__ import annotations

import os
from pathlib import Path

from conftest import losses, make_rows
from jobs import rows_of, train_reply

from finetune_trainer.data import token_cache


def was_there(run) -> bool:
    """Whether the run took the rows of one before."""
    return any("were tokenized by an earlier run" in e["message"] for e in run.server.of("log"))


def test_a_second_run_maps_the_rows_of_the_first_and_learns_the_same(here, tiny, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("FTL_TOKEN_CACHE", str(cache))

    def train(rows=None, **options):
        run = here(train_reply(tiny, total=3, **options), rows=rows or make_rows(12))
        assert run.run() == 0
        return was_there(run), losses(run.server)

    first, again = train(), train()
    assert (first[0], again[0]) == (False, True)
    assert first[1] == again[1]
    assert not train(settings={"loss_on": "all"})[0]
    assert not train(max_length=64)[0]
    pairs = [train(rows=rows_of("preference", 8), method="dpo") for _ in range(2)]
    assert [there for there, _ in pairs] == [False, True] and pairs[0][1] == pairs[1][1]
    for entry in cache.iterdir():
        (entry / "ids.npy").write_bytes(b"cut off")
    assert train() == (False, first[1])
    assert train() == (True, first[1])


def test_the_least_recently_used_entries_are_removed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "MAX_BYTES", 250)
    for age, name in enumerate("dcba"):
        entry = tmp_path / name
        entry.mkdir()
        Path(entry, "ids.npy").write_bytes(b"x" * 100)

        os.utime(entry, (1000 + age, 1000 + age))
    token_cache.prune(tmp_path)
    assert sorted(e.name for e in tmp_path.iterdir()) == ["a", "b"]
