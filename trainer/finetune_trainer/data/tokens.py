"""Tokenized rows: token ids, and labels that say which of them are in the loss."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

IGNORED = -100


@dataclass
class Tokens:
    """Rows as flat arrays: sequence i is `ids[starts[i]:starts[i+1]]`; `labels` is -100 where no loss counts. Several
    sequences may have the same row id.
    """

    ids: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    row_ids: list[int]
    cut: int = 0
    dropped: int = 0
    warnings: list[str] = field(default_factory=list)
    split: int = 0  # rows that became several sequences

    def __len__(self) -> int:
        return len(self.row_ids)

    def lengths(self) -> np.ndarray:
        """Length of each row in tokens."""
        return np.diff(self.starts)

    def total(self) -> int:
        """Tokens of all rows."""
        return int(self.lengths().sum())

    def save(self, directory: Path) -> None:
        """Writes the rows for other processes of this machine."""
        directory.mkdir(parents=True, exist_ok=True)
        rest = {}
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, np.ndarray):
                np.save(directory / f"{part.name}.npy", value)
            else:
                rest[part.name] = value
        (directory / "rest.json").write_text(json.dumps(rest), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> Tokens:
        """Rows that another process has saved; the arrays are mapped from its files."""
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in directory.glob("*.npy")}
        return cls(**arrays, **json.loads((directory / "rest.json").read_text("utf-8")))

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and labels of one row."""
        a, b = self.starts[index], self.starts[index + 1]
        return self.ids[a:b], self.labels[a:b]


def counts(labels: np.ndarray) -> bool:
    """Whether a token of the row contributes to the loss; no token predicts the first."""
    return bool((labels[1:] != IGNORED).any())


def flat(parts: list[tuple[int, np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Rows (id, token ids, labels) as the fields of Tokens."""
    lengths = [len(ids) for _, ids, _ in parts]
    return {
        "ids": np.concatenate([ids for _, ids, _ in parts]),
        "labels": np.concatenate([labels for _, _, labels in parts]),
        "starts": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "row_ids": [row_id for row_id, _, _ in parts],
    }
