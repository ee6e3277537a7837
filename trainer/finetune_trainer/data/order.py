"""The order of rows in an epoch, and the batches of each rank."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np


class BucketSampler:
    """The order of rows in an epoch, a function of (seed, epoch): shuffled, then sorted by length within windows to
    save padding.
    """

    WINDOW_BATCHES = 8

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self._lengths, self._batch, self._seed = lengths, batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the next epoch; the training loop calls it."""
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
        # The short batch stays last: in the middle it would shift every later batch.
        full = [b for b in batches if len(b) == self._batch]
        short = [b for b in batches if len(b) != self._batch]
        for index in generator.permutation(len(full)):
            yield from (int(i) for i in full[index])
        for batch in short:
            yield from (int(i) for i in batch)


class RankBatches:
    """Micro-batches of one rank: every rank takes every n-th row of a micro-batch, so that rows have similar lengths on
    all ranks.

    `order` yields rows in whole optimizer steps, which are cut into micro-batches of `per_device` rows per rank. The
    rows of a step are the same for any number of ranks. A rank that gets none of the last rows of an epoch gets
    `filler`. Without a filler, the first rows of the epoch complete the batch: all ranks have the same number of rows,
    and at least `min_rows`.
    """

    def __init__(
        self, order: BucketSampler, per_device: int, rank: int, ranks: int, filler: int | None, min_rows: int = 1
    ) -> None:
        self._order, self._rows, self._filler = order, per_device * ranks, filler
        self._rank, self._ranks, self._min_rows = rank, ranks, min_rows

    def set_epoch(self, epoch: int) -> None:
        """Sets the next epoch; the training loop calls it."""
        self._order.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self._order) // self._rows)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self._order)
        for start in range(0, len(order), self._rows):
            rows = order[start : start + self._rows]
            if self._filler is None:
                wanted = max(-(-len(rows) // self._ranks), self._min_rows) * self._ranks
                rows += itertools.islice(itertools.cycle(order), wanted - len(rows))
            yield rows[self._rank :: self._ranks] or [self._filler]
