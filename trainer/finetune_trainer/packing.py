"""Packing: rows laid end to end in packs of at most max_length tokens, with positions that begin anew at every row."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .data import IGNORED, Tokens
from .score import causal_model

# Against what rows do to each other when nothing keeps them apart, rounding is nothing.
NEGLIGIBLE = 0.05


@dataclass
class Packs(Tokens):
    """Packs, which are rows to everything behind this; `positions` has every token's place in its own row."""

    positions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))


def best_fit(lengths: np.ndarray, room: int) -> list[list[int]]:
    """Rows in packs of at most `room` tokens, by best fit decreasing: long rows first, each where the least space remains."""
    packs: list[list[int]] = []
    with_space: dict[int, list[int]] = {}
    spaces: list[int] = []  # the keys of with_space, in order
    for row in np.argsort(-lengths, kind="stable"):
        length = int(lengths[row])
        at = bisect_left(spaces, length)
        if at == len(spaces):
            pack, space = len(packs), room
            packs.append([])
        else:
            space = spaces[at]
            pack = with_space[space].pop()
            if not with_space[space]:
                del with_space[space], spaces[at]
        packs[pack].append(int(row))
        left = space - length
        if left > 0 and left not in with_space:
            with_space[left] = []
            insort(spaces, left)
        if left > 0:
            with_space[left].append(pack)
    return packs


def pack(tokens: Tokens, max_length: int) -> Packs:
    """The rows as packs. The first token of a row is no label: none before it predicts it."""
    packs = best_fit(tokens.lengths(), max_length)
    order = [row for one in packs for row in one]
    lengths = tokens.lengths()[order]
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    ids, labels = (np.concatenate([tokens.row(row)[side] for row in order]) for side in (0, 1))
    labels[positions == 0] = IGNORED
    last = np.cumsum([len(one) for one in packs])
    starts = np.concatenate([[0], np.cumsum(lengths)[last - 1]]).astype(np.int64)
    return Packs(ids, labels, starts, [tokens.row_ids[one[0]] for one in packs], positions=positions)


def pad_positions(rows: list[Any], length: int) -> torch.Tensor:
    """Positions (rows, length); those of padding go on counting, so that it stays part of the last row, which does not look ahead."""
    out = np.empty((len(rows), length), np.int64)
    for index, row in enumerate(rows):
        count = len(row)
        out[index, :count] = row
        out[index, count:] = row[-1] + 1 + np.arange(length - count)
    return torch.from_numpy(out)


@torch.no_grad()
def keeps_rows_apart(model: Any) -> bool:
    """Whether this model's layers see to it that packed rows do not look at each other: tried out, since not every kind does."""
    inner = causal_model(model).base_model
    device = inner.get_input_embeddings().weight.device
    ids = torch.arange(2, 14, device=device)[None]
    begin_anew = torch.cat([torch.arange(6), torch.arange(6)])[None].to(device)

    def second_row(ids: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        return inner(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[0, -6:].float()

    was, _ = inner.training, inner.eval()
    alone, packed, mixed = second_row(ids[:, 6:]), second_row(ids, begin_anew), second_row(ids)
    inner.train(was)
    return bool((packed - alone).norm() <= NEGLIGIBLE * (mixed - alone).norm())
