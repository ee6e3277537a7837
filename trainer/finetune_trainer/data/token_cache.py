"""Tokenized rows kept between runs of one machine: who trains on the same rows in the same way again maps the files of the run before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import tokenizers
import transformers

from ..spec.models import TrainSpec
from . import rows, tokens
from .tokens import Tokens

MAX_BYTES = 4 << 30
"""Of all entries together; the ones not used for longest go first."""


def key_of(spec: TrainSpec, ends: set[int]) -> str:
    """Names everything the tokens depend on: the rows, the base model's files, the options, the code and the libraries."""
    code = hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module in (tokens, rows))).hexdigest()
    d, b = spec.dataset, spec.base_model
    options = [getattr(spec.method, "loss_on", "completion"), spec.hyperparameters.max_length, sorted(ends)]
    parts = [
        code,
        transformers.__version__,
        tokenizers.__version__,
        d.version_id,
        d.hash,
        b.id,
        b.hash,
        *options,
    ]
    return hashlib.sha256(json.dumps([*parts, d.row_type]).encode()).hexdigest()[:32]


def get_or_create(key: str, kind: str, make: Callable[[], Tokens]) -> tuple[Tokens, bool]:
    """The tokens, and whether they were there. Without FTL_TOKEN_CACHE they are made; one that cannot be written costs but time."""
    folder = os.environ.get("FTL_TOKEN_CACHE")
    if not folder:
        return make(), False
    entry = Path(folder, key)
    try:
        os.utime(entry)
        return rows.load(kind, entry), True
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or cut off by a full disk: it is made anew
    tokens = make()
    try:
        beside = Path(folder, f".{uuid.uuid4().hex}")
        tokens.save(beside)
        shutil.rmtree(entry, ignore_errors=True)
        beside.rename(entry)
        prune(Path(folder))
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
    return tokens, False


def prune(folder: Path) -> None:
    """Removes entries beyond MAX_BYTES. Who reads one keeps what it has mapped."""
    entries = sorted((e for e in folder.iterdir() if e.is_dir()), key=lambda e: e.stat().st_mtime, reverse=True)
    total = 0
    for entry in entries:
        total += sum(file.stat().st_size for file in entry.iterdir())
        if total > MAX_BYTES:
            shutil.rmtree(entry, ignore_errors=True)
