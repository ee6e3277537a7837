"""One loaded base model with its adapters, and the single thread that computes: it reads prompts in pieces, and all
running answers of an adapter take their next token in one step.
"""

from __future__ import annotations

import collections
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.tool_template import own_template, with_template
from ..model.artifacts import check_adapter
from ..model.decoding import Batch, Prefill, Sequence, can_join
from ..model.embed import embed, embedding_batches
from ..model.load import end_token_ids
from ..model.sampling import Constraint, Sampler, Sampling
from ..protocol.failures import ModelLoad
from .adapters import Adapters
from .api.logprobs import TokenTexts
from .constraints import Grammars
from .speed import Speed, cache_tokens

# Answers that are generated at once; memory for their tokens may allow fewer.
MAX_RUNNING = 32
# Prompt tokens that are read between two steps of the running answers.
PREFILL_TOKENS = {"cpu": 256, "cuda": 2048}


class Busy(RuntimeError):
    """The queue is full. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unloaded(RuntimeError):
    """The adapter was unloaded while the request waited."""


class Stopped(RuntimeError):
    """The engine ends."""


@dataclass(eq=False)
class Generation:
    """One answer. The engine puts pairs of `index` and an item on `out`: the list of scored prompt tokens where they
    were asked for, each Step, then None, or the exception that ended it. Answers of one request share `out`.
    """

    model: str
    prompt: list[int]
    sampling: Sampling
    index: int
    out: queue.SimpleQueue[tuple[int, Any]]
    constraint: Constraint | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    sequence: Sequence | None = None  # set when it runs for the first time

    def put(self, item: Any) -> None:
        """Hands an item to the request."""
        self.out.put((self.index, item))


@dataclass
class _Reading:
    """A prompt that is being read with the weights `key`."""

    key: str | None
    prefill: Prefill


class Engine:
    """Owns the model. All work is on one thread, since torch keeps a pool of threads for every thread that calls it."""

    def __init__(self, model: Any, tokenizer: Any, base_name: str, max_waiting: int) -> None:
        self.tokenizer, self.base_name = tokenizer, base_name
        self._tokenizers: dict[str, Any] = {}  # of adapters with a chat template of their own
        self.texts = TokenTexts(tokenizer)
        self.ends = end_token_ids(model, tokenizer)
        config = model.config.get_text_config()
        self.context = int(config.max_position_embeddings)
        self.vocabulary, self.width = int(config.vocab_size), int(config.hidden_size)
        self.grammars = Grammars(tokenizer, self.vocabulary, self.ends)
        self._causal, self._joinable = model, can_join(model)
        self._device = next(model.parameters()).device
        self._adapters = Adapters(model)
        self._max_waiting = max_waiting
        self._cache_tokens = max(self.context, cache_tokens(model))
        self._waiting: collections.deque[Generation] = collections.deque()
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._reading: collections.deque[_Reading] = collections.deque()
        self._batches: list[Batch] = []
        self._speed = Speed()
        self.active = 0  # answers that are generated now
        self._changed = threading.Condition()
        self._stopping = False
        self.failure: BaseException | None = None
        """What ended the thread, apart from `stop`."""
        self._thread = threading.Thread(target=self._work_until_end, name="engine", daemon=True)
        self._thread.start()

    def tokenizer_of(self, name: str) -> Any:
        """The tokenizer with the chat template of a model."""
        return self._tokenizers.get(name, self.tokenizer)

    def models(self) -> list[str]:
        """Names a request may use, the base first."""
        return [self.base_name, *self._adapters.names]

    @property
    def waiting(self) -> int:
        """Answers in the queue."""
        return len(self._waiting)

    def submit(self, generations: list[Generation]) -> None:
        """Queues the answers of one request; raises Busy when the queue is full."""
        with self._changed:
            if self._stopping:
                raise Stopped("the endpoint is stopping")
            count = len(self._waiting)
            if count >= self._max_waiting:
                raise Busy(f"{count} answers are waiting", self._speed.wait_for(count + self.active))
            self._waiting.extend(generations)
            self._changed.notify()

    def withdraw(self, generation: Generation) -> None:
        """Ends an answer that nobody reads any more, waiting or running."""
        generation.cancelled.set()
        with self._changed:
            if generation in self._waiting:
                self._waiting.remove(generation)

    def stop(self, timeout: float) -> None:
        """Ends the thread after its current step, and every answer with it. Waits up to `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)

    def call(self, work: Callable[[], Any]) -> Any:
        """Runs `work` on the engine's thread between two steps, and returns or raises what it does."""
        done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                done.put((work(), None))
            except BaseException as error:
                done.put((None, error))

        with self._changed:
            if self._stopping:
                raise Stopped("the endpoint is stopping")
            self._calls.append(run)
            self._changed.notify()
        value, error = done.get()
        if error is not None:
            raise error
        return value

    def embed(self, name: str, inputs: list[list[int]], check: Callable[[], None]) -> list[np.ndarray]:
        """A vector for each input, by the model of that name. `check` is called between batches, and may raise."""
        vectors: dict[int, np.ndarray] = {}
        for batch in embedding_batches(inputs):
            check()
            some = self.call(lambda batch=batch: self._embed(name, [inputs[i] for i in batch]))
            vectors.update(zip(batch, some, strict=True))
        return [vectors[index] for index in range(len(inputs))]

    def _embed(self, name: str, inputs: list[list[int]]) -> list[np.ndarray]:
        self._adapters.select(self._weights_of(name))
        return embed(self._causal, inputs, self.tokenizer.pad_token_id)

    def load_adapter(self, name: str, directory: Path) -> None:
        """Loads a LoRA adapter under a public name, and replaces one of that name. Raises ModelLoad when it does not
        fit.
        """
        if name == self.base_name:
            raise ModelLoad("the base model's name is taken")
        check_adapter(name, directory)
        self.call(lambda: self._adapters.load(name, directory))
        if (template := own_template(directory)) is None:
            self._tokenizers.pop(name, None)
        else:
            self._tokenizers[name] = with_template(self.tokenizer, template)

    def unload_adapter(self, name: str) -> bool:
        """Unloads an adapter; False when no adapter has that name."""
        return self.call(lambda: self._adapters.unload(name))

    def _weights_of(self, name: str) -> str | None:
        if name not in self.models():
            raise Unloaded(name)
        return self._adapters.inner(name)

    # The engine's thread.

    def _work_until_end(self) -> None:
        try:
            self._work()
        except BaseException as error:
            # Errors of one answer are its own; this is one of the engine, which can answer nobody any more.
            self.failure = error
        with self._changed:
            self._stopping = True
            calls = list(self._calls)
        for generation in [*self._waiting, *(s.owner for s in self._running())]:
            generation.put(Stopped("the endpoint is stopping"))
        self._waiting.clear()
        self._reading.clear()
        self._batches.clear()
        for call in calls:
            call()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._calls or self._waiting or self._reading or self._batches
                )
                if self._stopping:
                    return
                calls = [self._calls.popleft() for _ in range(len(self._calls))]
            for call in calls:
                call()
            self._drop_cancelled()
            self._adapters.free({one.key for one in [*self._reading, *self._batches]})
            self._admit()
            self._read_prompts()
            for batch in list(self._batches):
                self._step(batch)

    def _running(self) -> list[Sequence]:
        return [
            *(s for one in self._reading for s in one.prefill.sequences),
            *(s for batch in self._batches for s in batch.sequences),
        ]

    def _drop_cancelled(self) -> None:
        for sequence in self._running():
            if sequence.owner.cancelled.is_set():
                self._remove(sequence)

    def _admit(self) -> None:
        """Takes answers from the queue while there is room for them, the first one in any case."""
        while self._waiting:
            with self._changed:
                if not self._waiting:
                    return
                first = self._waiting[0]
                need = len(first.sequence.tokens if first.sequence else first.prompt)
                # A tenth stays free for what the running answers add.
                if self.active and (self.active >= MAX_RUNNING or self._used() + need > self._cache_tokens * 0.9):
                    return
                group = [self._waiting.popleft()]
                # Answers to the same prompt share its reading.
                while (
                    self._waiting
                    and self._joinable
                    and first.sequence is None
                    and self._waiting[0].prompt is first.prompt
                    and self._waiting[0].sequence is None
                    and self.active + len(group) < MAX_RUNNING
                ):
                    group.append(self._waiting.popleft())
            try:
                key = self._weights_of(first.model)
                prefill = Prefill.of(self._causal, [self._sequence(one) for one in group], joinable=self._joinable)
                self._reading.append(_Reading(key, prefill))
                self.active += len(group)
            except Exception as error:
                for one in group:
                    one.put(error)

    def _sequence(self, one: Generation) -> Sequence:
        if one.sequence is None:
            sampler = Sampler(one.sampling, one.prompt, self.ends, self._device, one.constraint)
            one.sequence = Sequence(one, list(one.prompt), sampler, one.sampling.prompt_logprobs)
        return one.sequence

    def _used(self) -> int:
        return sum(batch.padded for batch in self._batches) + sum(len(one.prefill.tokens) for one in self._reading)

    def _read_prompts(self) -> None:
        """Reads some tokens of the prompts that wait: long ones in turn, so that short ones are not delayed by them."""
        budget = PREFILL_TOKENS[self._device.type]
        while self._reading and budget > 0:
            reading = self._reading[0]
            prefill, before = reading.prefill, reading.prefill.done
            try:
                self._adapters.select(reading.key)
                logits = prefill.advance(self._causal, budget)
            except Exception as error:
                for sequence in list(prefill.sequences):
                    self._end(sequence, error)
                continue
            budget -= prefill.done - before
            if logits is None:
                self._reading.rotate(-1)
            else:
                self._reading.popleft()
                self._begin(reading, logits)

    def _begin(self, reading: _Reading, logits: torch.Tensor) -> None:
        """Takes the first token of every answer to a prompt, and puts them into a batch."""
        prefill = reading.prefill
        for sequence in list(prefill.sequences):
            if sequence.prompt_logprobs is not None:
                sequence.owner.put(prefill.scores)
                sequence.prompt_logprobs = None
            if sequence.left <= 0:
                self._end(sequence, None)
                continue
            if not self._take(sequence, logits, None):
                continue
            try:
                self._join(reading, sequence)
            except Exception as error:
                self._end(sequence, error)

    def _join(self, reading: _Reading, sequence: Sequence) -> None:
        batch = next((one for one in self._batches if one.fits(reading.key, reading.prefill.done)), None)
        if batch is not None:
            batch.add(reading.prefill, sequence)
        else:
            self._batches.append(Batch(reading.key, reading.prefill, sequence, joinable=self._joinable))

    def _step(self, batch: Batch) -> None:
        """One token for every answer of a batch."""
        while self._used() > self._cache_tokens and len(running := [s for b in self._batches for s in b.sequences]) > 1:
            self._set_back(min(running, key=lambda one: one.sampler.made))
        if not batch.sequences:
            return
        try:
            self._adapters.select(batch.key)
            logits = batch.logits(self._causal)
            likeliest = logits.argmax(-1).tolist()
        except Exception as error:
            for sequence in list(batch.sequences):
                self._end(sequence, error)
            return
        for row, sequence in enumerate(list(batch.sequences)):
            self._take(sequence, logits[row], likeliest[row])

    def _take(self, sequence: Sequence, logits: torch.Tensor, likeliest: int | None) -> bool:
        """The next token of an answer; False when it was the last."""
        try:
            step = sequence.sampler.take(logits, likeliest)
        except Exception as error:
            self._end(sequence, error)
            return False
        sequence.tokens.append(step.token)
        sequence.owner.put(step)
        if step.ends or sequence.left <= 0:
            self._end(sequence, None)
            return False
        return True

    def _end(self, sequence: Sequence, how: Exception | None) -> None:
        """Ends an answer: None when it is complete."""
        self._remove(sequence)
        self._speed.ended(time.monotonic())
        sequence.owner.put(how)

    def _set_back(self, sequence: Sequence) -> None:
        """Frees the memory of an answer, which is read again when there is room, and continues where it was."""
        self._remove(sequence)
        with self._changed:
            self._waiting.appendleft(sequence.owner)

    def _remove(self, sequence: Sequence) -> None:
        for reading in [one for one in self._reading if sequence in one.prefill.sequences]:
            reading.prefill.sequences.remove(sequence)
            if not reading.prefill.sequences:
                self._reading.remove(reading)
        for batch in [one for one in self._batches if sequence in one.sequences]:
            batch.remove(sequence)
            if not batch.sequences:
                self._batches.remove(batch)
        self.active = len(self._running())
