"""Packing: rows end to end in packs of at most max_length tokens, with positions that restart at 0 for every row."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..data.tokens import IGNORED, Tokens
from ..model.score import causal_model

# The allowed influence of the previous row, as a share of its influence without isolation: zero, apart from int8's
# rounding (2 to 3%).
NEGLIGIBLE = 0.1


@dataclass
class Packs(Tokens):
    """Packs; to the code after this they are rows. `positions`: a token's place in its own row; `members`: row ids,
    pack by pack.
    """

    positions: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    members: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def unpacked(
        self, index: int, ids: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The rows in these tokens of a pack, split where positions restart, each with its row id."""
        first = int((self.positions[: self.starts[index]] == 0).sum())
        for row_id, (own_ids, own_labels) in zip(
            self.members[first:], split_rows(positions[: len(ids)], ids, labels), strict=False
        ):
            yield int(row_id), own_ids, own_labels


def best_fit(lengths: np.ndarray, room: int) -> list[list[int]]:
    """Rows in packs of at most `room` tokens, by best fit decreasing: long rows first, each where the least space
    remains.
    """
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
    """The rows as packs. The first token of a row is not a label, since no token of its row predicts it."""
    packs = best_fit(tokens.lengths(), max_length)
    order = [row for one in packs for row in one]
    lengths = tokens.lengths()[order]
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    ids, labels = (np.concatenate([tokens.row(row)[side] for row in order]) for side in (0, 1))
    labels[positions == 0] = IGNORED
    last = np.cumsum([len(one) for one in packs])
    starts = np.concatenate([[0], np.cumsum(lengths)[last - 1]]).astype(np.int64)
    members = np.asarray([tokens.row_ids[row] for row in order], np.int64)
    return Packs(ids, labels, starts, [tokens.row_ids[one[0]] for one in packs], positions=positions, members=members)


def joined_rows(rows: list[tuple[Any, Any]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows end to end as one: ids, labels and positions, each (1, tokens). The first token of a row is not a label."""
    ids = np.concatenate([np.asarray(row_ids, np.int64) for row_ids, _ in rows])
    labels = np.concatenate([np.asarray(row_labels, np.int64) for _, row_labels in rows])
    positions = np.concatenate([np.arange(len(row_ids)) for row_ids, _ in rows])
    labels[positions == 0] = IGNORED
    return tuple(torch.from_numpy(one)[None] for one in (ids, labels, positions))


def split_rows(positions: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of one sequence, split where positions restart."""
    begins = np.flatnonzero(positions == 0)
    for begin, end in zip(begins, [*begins[1:], len(ids)], strict=True):
        yield ids[begin:end], labels[begin:end]


def pad_positions(rows: list[Any], length: int) -> torch.Tensor:
    """Positions (rows, length). Those of padding continue, so that it belongs to the last row, which does not attend to
    it.
    """
    out = np.empty((len(rows), length), np.int64)
    for index, row in enumerate(rows):
        count = len(row)
        out[index, :count] = row
        out[index, count:] = row[-1] + 1 + np.arange(length - count)
    return torch.from_numpy(out)


@torch.no_grad()
def isolates_packed_rows(model: Any) -> bool:
    """Whether the previous row has no influence on a packed row. Tested on the model, since layers with a recurrent
    state mix rows.
    """
    inner = causal_model(model).base_model
    device = inner.get_input_embeddings().weight.device
    rows = [torch.arange(2 + 6 * n, 8 + 6 * n, device=device) for n in range(3)]
    places = torch.arange(6, device=device)

    def last_row(which: list[int], positions: torch.Tensor | None = None) -> torch.Tensor:
        ids = torch.cat([rows[n] for n in which])[None]
        return inner(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[0, -6:].float()

    begin_anew = torch.cat([places, places])[None]
    was, _ = inner.training, inner.eval()
    packed, beside_another = last_row([1, 0], begin_anew), last_row([2, 0], begin_anew)
    mixed, mixed_with_another = last_row([1, 0]), last_row([2, 0])
    inner.train(was)
    return bool((packed - beside_another).norm() <= NEGLIGIBLE * (mixed - mixed_with_another).norm())
