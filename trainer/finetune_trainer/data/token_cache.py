"""The token cache: a run on the same rows with the same options on the same machine maps the files
of an earlier run.
"""

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
from . import rows
from .tokens import Tokens

MAX_BYTES = 4 << 30
"""Of all entries together; the least recently used ones are removed first."""


def key_of(spec: TrainSpec, ends: set[int]) -> str:
    """The cache key: the dataset version, by which the server finds and deletes it, and a hash of everything the tokens
    depend on, that is rows, base model, options, code and libraries.
    """
    files = sorted(Path(__file__).parent.glob("*.py"))
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    d, b = spec.dataset, spec.base_model
    data = spec.data.model_dump() if spec.data else None
    options = [getattr(spec.method, "loss_on", "completion"), spec.hyperparameters.max_length, sorted(ends), data]
    parts = [
        code,
        transformers.__version__,
        tokenizers.__version__,
        d.version_id,
        d.hash,
        d.train_rows,
        b.id,
        b.hash,
        *options,
    ]
    key = hashlib.sha256(json.dumps([*parts, d.row_type]).encode()).hexdigest()[:32]
    version = "".join(c for c in d.version_id if c.isalnum() or c == "_")
    return f"{version}.{key}"


def get_or_create(key: str, kind: str, make: Callable[[], Tokens]) -> tuple[Tokens, bool]:
    """The tokens, and whether they were cached. Without FTL_TOKEN_CACHE they are always made; a failed write is not an
    error.
    """
    folder = os.environ.get("FTL_TOKEN_CACHE")
    if not folder:
        return make(), False
    entry = Path(folder, key)
    try:
        os.utime(entry)
        return rows.load(kind, entry), True
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or truncated by a full disk: it is made again
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
    """Removes entries beyond MAX_BYTES. A process that reads one keeps what it has mapped."""
    entries = sorted((e for e in folder.iterdir() if e.is_dir()), key=lambda e: e.stat().st_mtime, reverse=True)
    total = 0
    for entry in entries:
        total += sum(file.stat().st_size for file in entry.iterdir())
        if total > MAX_BYTES:
            shutil.rmtree(entry, ignore_errors=True)
