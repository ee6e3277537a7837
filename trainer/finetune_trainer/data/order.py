"""The order of rows in an epoch, and the batches of each rank."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


class BucketSampler:
    """Row order of an epoch by (seed, epoch) alone: shuffled, then sorted by length within windows so that batches hold little padding."""

    WINDOW_BATCHES = 8

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self._lengths, self._batch, self._seed = lengths, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order comes next; the training loop calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng([self._seed, self.epoch])
        order = generator.permutation(len(self._lengths))
        window = self._batch * self.WINDOW_BATCHES
        batches: list[np.ndarray] = []
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches.extend(part[i : i + self._batch] for i in range(0, len(part), self._batch))
        # The one short batch stays last: a short batch in the middle would shift every batch behind it.
        full = [b for b in batches if len(b) == self._batch]
        short = [b for b in batches if len(b) != self._batch]
        for index in generator.permutation(len(full)):
            yield from (int(i) for i in full[index])
        for batch in short:
            yield from (int(i) for i in batch)


class RankBatches:
    """Micro-batches of one rank: every rank takes every n-th row of a micro-batch, so that all have rows of like length.

    `order` yields rows in whole optimizer steps, which are cut into micro-batches of `per_device` rows a rank; so the rows of a
    step are the same however many ranks share them. A rank for which the last rows of an epoch do not suffice gets `filler`;
    without one, the epoch's first rows complete them, so that all ranks have as many, and `least` at least.
    """

    def __init__(
        self, order: BucketSampler, per_device: int, rank: int, ranks: int, filler: int | None, least: int = 1
    ) -> None:
        self._order, self._rows, self._filler = order, per_device * ranks, filler
        self._rank, self._ranks, self._least = rank, ranks, least

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose batches come next; the training loop calls it."""
        self._order.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self._order) // self._rows)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self._order)
        for start in range(0, len(order), self._rows):
            rows = order[start : start + self._rows]
            if self._filler is None:
                wanted = max(-(-len(rows) // self._ranks), self._least) * self._ranks
                rows += itertools.islice(itertools.cycle(order), wanted - len(rows))
            yield rows[self._rank :: self._ranks] or [self._filler]
