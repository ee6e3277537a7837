"""Keys and values of several sequences that are decoded together. They end at the same column, so each step writes one
column; a sequence joins by writing only its own row, and leaves by giving its row to the last one.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

# Columns kept free at the end when a buffer is made, so that a step rarely copies it.
SPARE_COLUMNS = 128


class _RowLayer(DynamicLayer):
    """One layer's buffers, `(rows, heads, columns, size)`. `keys` and `values` are views of what is in use."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []
        self.rows = self.start = self.end = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple:
        """Writes one more column."""
        self.reserve(self.rows, self.end + 1 - self.start)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self.rows, :, self.end : self.end + 1] = new
        self.end += 1
        self._look()
        return self.keys, self.values

    def join(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Adds a row, from states `(1, heads, length, size)`."""
        length = keys.shape[-2]
        if not self._buffers:
            self._buffers = [
                new.new_zeros(1, new.shape[1], length + SPARE_COLUMNS, new.shape[3]) for new in (keys, values)
            ]
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
            self.start = self.end = length
        self.reserve(self.rows + 1, max(length, self.end - self.start))
        for buffer, new in zip(self._buffers, (keys, values), strict=True):
            buffer[self.rows, :, self.end - length : self.end] = new[0]
        self.rows += 1
        self.start = min(self.start, self.end - length)
        self._look()

    def leave(self, row: int, longest: int) -> None:
        """Drops a row; the last one takes its place. `longest` is the length of the longest one that is left."""
        self.rows -= 1
        for buffer in self._buffers:
            if row < self.rows:
                buffer[row] = buffer[self.rows]
        self.start = self.end - longest
        self._look()

    def reserve(self, rows: int, width: int) -> None:
        """Reserves memory for `rows` rows of `width` columns; the used columns stay at the end."""
        have_rows, _, have_columns, _ = self._buffers[0].shape
        used = self.end - self.start
        grows = width > used and (self.end - width < 0 if rows > self.rows else self.end >= have_columns)
        if rows <= have_rows and not grows:
            return
        # A joining row is longer: the free columns are needed before the others' first; a step needs them after.
        end = width if rows > self.rows else used
        more_rows = have_rows if rows <= have_rows else max(rows, have_rows * 2)
        for index, buffer in enumerate(self._buffers):
            grown = buffer.new_zeros(more_rows, buffer.shape[1], end + SPARE_COLUMNS + end // 4, buffer.shape[3])
            grown[: self.rows, :, end - used : end] = buffer[: self.rows, :, self.start : self.end]
            self._buffers[index] = grown
        self.start, self.end = end - used, end

    def _look(self) -> None:
        self.keys, self.values = (buffer[: self.rows, :, self.start : self.end] for buffer in self._buffers)


class RowCache(Cache):
    """A cache whose rows join and leave. It keeps the length of each row, in tokens.

    Steps grow the buffers in inference mode; only code in that mode may write to them afterwards.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[_RowLayer() for _ in range(layers)])
        self.lengths: list[int] = []

    @property
    def width(self) -> int:
        """Columns in use: the longest row."""
        return max(self.lengths, default=0)

    @torch.inference_mode()
    def join(self, other: Cache, length: int) -> None:
        """Adds the only row of another cache."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            if theirs.is_initialized:  # layers that share another layer's states have none
                mine.join(theirs.keys, theirs.values)
        self.lengths.append(length)

    @torch.inference_mode()
    def leave(self, row: int) -> None:
        """Drops a row; the last one takes its place."""
        self.lengths[row] = self.lengths[-1]
        self.lengths.pop()
        for layer in self.layers:
            if layer.is_initialized:
                layer.leave(row, self.width)

    def mask(self) -> torch.Tensor | None:
        """The attention mask `(rows, width + 1)` of the next step; None when no row is padded."""
        if len(set(self.lengths)) == 1:
            return None
        width, device = self.width, self.layers[0].device
        first = torch.tensor([width - length for length in self.lengths], device=device)
        return (torch.arange(width + 1, device=device)[None] >= first[:, None]).long()

    def stepped(self) -> None:
        """Counts the column that a forward pass has written."""
        self.lengths = [length + 1 for length in self.lengths]
