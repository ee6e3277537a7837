"""Decoding of several sequences: prompts are read in pieces, and running sequences take one step together."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from .row_cache import RowCache
from .sampling import Sampler, Step, scored

# Kinds of attention whose sequences can be padded and joined. Others keep states that cannot, and are decoded alone.
JOINABLE = {"full_attention", "sliding_attention"}


@dataclass(eq=False)
class Sequence:
    """One answer as far as it has come: its tokens, prompt included, and the sampler of the next one. `owner` is
    whatever the caller keeps with it.
    """

    owner: Any
    tokens: list[int]
    sampler: Sampler
    prompt_logprobs: int | None = None

    @property
    def left(self) -> int:
        """Tokens that may still be generated."""
        return self.sampler.options.max_new_tokens - self.sampler.made


def can_join(causal: Any) -> bool:
    """Whether sequences of a model can be decoded in one batch."""
    config = causal.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    takes = inspect.signature(causal.forward).parameters
    return kinds <= JOINABLE and "position_ids" in takes and not getattr(causal, "_is_stateful", False)


@dataclass(eq=False)
class Prefill:
    """The reading of one prompt, for all sequences that continue it."""

    sequences: list[Sequence]
    cache: Any
    done: int = 0
    scores: list[Step] = field(default_factory=list)
    _last: torch.Tensor | None = None  # logits that predict the next token of the prompt

    @classmethod
    def of(cls, causal: Any, sequences: list[Sequence], *, joinable: bool) -> Prefill:
        """A prompt that has not been read yet."""
        # Without the model's config every layer keeps all tokens; masks limit what a sliding window sees.
        return cls(sequences, DynamicCache() if joinable else DynamicCache(config=causal.config))

    @property
    def tokens(self) -> list[int]:
        """The tokens to read."""
        return self.sequences[0].tokens

    @property
    def left(self) -> int:
        """Tokens that were not read yet."""
        return len(self.tokens) - self.done

    @torch.inference_mode()
    def advance(self, causal: Any, count: int) -> torch.Tensor | None:
        """Reads up to `count` more tokens. Returns the logits of the next token once the prompt is complete."""
        device = next(causal.parameters()).device
        piece = self.tokens[self.done : self.done + count]
        ids = torch.tensor([piece], device=device)
        alternatives = self.sequences[0].prompt_logprobs
        is_last = len(piece) == self.left
        self.done += len(piece)
        if alternatives is None and not is_last:
            causal.base_model(input_ids=ids, past_key_values=self.cache, use_cache=True)
            return None
        keep = 1 if alternatives is None else 0
        logits = causal(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=keep).logits[0]
        if alternatives is not None:
            self._score(piece, logits, alternatives)
        return logits[-1] if is_last else None

    def _score(self, piece: list[int], logits: torch.Tensor, alternatives: int) -> None:
        """Log probabilities of the tokens of a piece; nothing predicts the first token of a prompt."""
        for position, token in enumerate(piece):
            before = logits[position - 1] if position else self._last
            self.scores.append(Step(token) if before is None else scored(before, token, alternatives))
        self._last = logits[-1]


class Batch:
    """Sequences of one adapter that are decoded together. `key` is the caller's name for the adapter."""

    def __init__(self, key: str, prefilled: Prefill, first: Sequence, *, joinable: bool) -> None:
        self.key, self.joinable = key, joinable
        self.sequences: list[Sequence] = []
        self._cache: Any = RowCache(len(prefilled.cache.layers)) if joinable else prefilled.cache
        self.add(prefilled, first)

    @property
    def padded(self) -> int:
        """Tokens in the cache, padding included."""
        return len(self.sequences) * (self._cache.width if self.joinable else len(self.sequences[0].tokens))

    def fits(self, key: str, length: int) -> bool:
        """Whether a sequence of `length` tokens may join without much padding: a short one would be computed as long
        as the longest.
        """
        if not self.joinable or key != self.key:
            return False
        real = sum(self._cache.lengths) + length
        return max(self._cache.width, length) * (len(self.sequences) + 1) <= 2 * real + 1024

    def add(self, prefilled: Prefill, sequence: Sequence) -> None:
        """Takes a sequence whose prompt was read, and whose next token is the last of its tokens."""
        if self.joinable:
            self._cache.join(prefilled.cache, prefilled.done)
        self.sequences.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Drops a sequence."""
        row = self.sequences.index(sequence)
        self.sequences[row] = self.sequences[-1]
        self.sequences.pop()
        if self.joinable:
            self._cache.leave(row)

    @torch.inference_mode()
    def logits(self, causal: Any) -> torch.Tensor:
        """The logits `(sequences, vocabulary)` of every next token, after the last token of each sequence."""
        device = next(causal.parameters()).device
        ids = torch.tensor([[one.tokens[-1]] for one in self.sequences], device=device)
        if not self.joinable:
            return causal(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        out = causal(
            input_ids=ids,
            attention_mask=self._cache.mask(),
            position_ids=torch.tensor(self._cache.lengths, device=device)[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache.stepped()
        return out.logits[:, -1]
