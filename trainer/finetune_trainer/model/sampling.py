"""How one answer is sampled: the options of a request, and the choice of each next token."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Protocol

import torch

# Tokens that are sorted to find the nucleus, before the whole vocabulary is.
LIKELY = 512


class Constraint(Protocol):
    """What an answer must match. It says which tokens may come next."""

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits, with -inf for every token that may not come next."""

    def advance(self, token: int) -> None:
        """Takes the chosen token."""


@dataclass(frozen=True)
class Sampling:
    """Options of one answer. The defaults leave the model's distribution as it is.

    `repetition_penalty` counts the prompt and the answer, presence and frequency penalties only the answer (as vLLM
    does). `top_k` 0 and `min_p` 0 are off. Temperature 0 is greedy. `logprobs` and `prompt_logprobs` are the numbers of
    alternatives to report for each token; None reports nothing.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    seed: int | None = None
    min_new_tokens: int = 0
    ignore_end: bool = False
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    @property
    def is_plain_greedy(self) -> bool:
        """True when the next token is the most likely one, and nothing about it is reported."""
        return (
            self.temperature == 0
            and self.logprobs is None
            and self.repetition_penalty == 1
            and not (self.presence_penalty or self.frequency_penalty or self.logit_bias or self.min_new_tokens)
        )


@dataclass(frozen=True)
class Step:
    """One token of an answer or a prompt. `logprob` is of the model's own distribution, before penalties, temperature
    and limits; `top` has the most likely tokens with theirs. `ends` is True for a token that ends the answer.
    """

    token: int
    ends: bool = False
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one answer. Its random numbers are its own: a seed gives the same answer in any batch."""

    def __init__(
        self, options: Sampling, prompt: list[int], ends: set[int], device: torch.device, constraint: Constraint | None
    ) -> None:
        self.options, self.constraint = options, constraint
        self.is_plain_greedy = options.is_plain_greedy and constraint is None
        self.made = 0
        self._ends, self._device = ends, device
        # What a constraint demands is complete at its end, so that is never ignored.
        self._stops = options.stop_ids | (set() if options.ignore_end and constraint is None else ends)
        self._counts: collections.Counter[int] = collections.Counter()
        self._prompt = torch.tensor(sorted(set(prompt)), device=device) if options.repetition_penalty != 1 else None
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(options.seed) if options.seed is not None else self._generator.seed()

    def take(self, logits: torch.Tensor, chosen: int | None = None) -> Step:
        """The next token from float logits `(vocabulary,)`; `chosen` is the most likely one where it is known."""
        if self.is_plain_greedy:
            token = int(logits.argmax()) if chosen is None else chosen
            step = Step(token, ends=token in self._stops)
        else:
            logits = logits.float()
            token = pick(self._shaped(logits), self.options, self._generator)
            step = scored(logits, token, self.options.logprobs, ends=token in self._stops)
        self.made += 1
        if not step.ends:
            self._counts[token] += 1
            if self.constraint is not None:
                self.constraint.advance(token)
        return step

    def _shaped(self, logits: torch.Tensor) -> torch.Tensor:
        options = self.options
        if options.repetition_penalty != 1 or self._counts or options.logit_bias:
            logits = logits.clone()
        if options.repetition_penalty != 1 and self._prompt is not None:
            said = torch.tensor(list(self._counts), dtype=torch.long, device=self._device)
            seen = torch.cat([self._prompt, said]).unique()
            some = logits[seen]
            logits[seen] = torch.where(some > 0, some / options.repetition_penalty, some * options.repetition_penalty)
        if self._counts and (options.presence_penalty or options.frequency_penalty):
            ids = torch.tensor(list(self._counts), device=self._device)
            times = torch.tensor(list(self._counts.values()), dtype=logits.dtype, device=self._device)
            logits[ids] -= options.presence_penalty + options.frequency_penalty * times
        if options.logit_bias:
            ids = torch.tensor(list(options.logit_bias), device=self._device)
            logits[ids] += torch.tensor(list(options.logit_bias.values()), dtype=logits.dtype, device=self._device)
        if self.constraint is not None:
            logits = self.constraint.allow(logits)
        if self.made < options.min_new_tokens:
            longer = logits.index_fill(0, torch.tensor(sorted(self._ends | options.stop_ids)), -torch.inf)
            if longer.max() > -torch.inf:  # a constraint may leave nothing but the end
                logits = longer
        return logits


def scored(logits: torch.Tensor, token: int, alternatives: int | None, *, ends: bool = False) -> Step:
    """A token with its log probability and the `alternatives` most likely tokens; without them when that is None."""
    if alternatives is None:
        return Step(token, ends)
    logprobs = torch.log_softmax(logits.float(), -1)
    top = logprobs.topk(min(alternatives, len(logprobs)))
    pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return Step(token, ends, float(logprobs[token]), pairs)


def pick(logits: torch.Tensor, options: Sampling, generator: torch.Generator) -> int:
    """One token from float32 logits `(vocabulary,)`: the most likely at temperature 0, else sampled from what `top_k`,
    `top_p` and `min_p` leave. The most likely token always stays.
    """
    if options.temperature == 0:
        return int(logits.argmax())
    # The largest logit is taken off first: divided by a tiny temperature it would overflow.
    probabilities = torch.softmax((logits - logits.max()) / options.temperature, -1)
    if options.min_p > 0:
        probabilities = probabilities.where(probabilities >= options.min_p * probabilities.max(), 0)
    if options.top_k == 0 and options.top_p >= 1:
        return _drawn(probabilities, generator)
    ordered, indices = probabilities.topk(min(options.top_k or LIKELY, len(probabilities)))
    if options.top_p < 1:
        if float(ordered.sum()) < options.top_p and not options.top_k:
            ordered, indices = probabilities.sort(descending=True)
        # Of the tokens that top_k left: one stays when the more likely ones before it have not reached top_p.
        total = ordered.sum() if options.top_k else 1.0
        ordered[(ordered.cumsum(0) - ordered) >= options.top_p * total] = 0
        ordered[0] = max(float(ordered[0]), 1e-12)
    return int(indices[_drawn(ordered, generator)])


def _drawn(weights: torch.Tensor, generator: torch.Generator) -> int:
    """An index, as likely as its weight. One random number and a running sum: faster than torch.multinomial."""
    sums = weights.cumsum(0)
    index = int(torch.searchsorted(sums, torch.rand(1, generator=generator, device=sums.device) * sums[-1], right=True))
    return index if index < len(weights) else int(weights.argmax())  # the product may be rounded up to the sum
