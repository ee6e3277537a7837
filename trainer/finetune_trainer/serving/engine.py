"""One loaded base model with its adapters, and the single thread that generates: requests wait in a short first-come
queue.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..model.artifacts import check_adapter
from ..model.embed import embed, embedding_batches
from ..model.generate import sample_tokens
from ..model.load import end_token_ids
from ..model.sampling import Constraint, Sampling
from ..protocol.failures import ModelLoad
from .api.logprobs import TokenTexts

MAX_WAITING = 16


class Busy(RuntimeError):
    """The queue is full. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unloaded(RuntimeError):
    """The adapter was unloaded while the request waited."""


@dataclass(eq=False)
class Generation:
    """One answer. The worker puts pairs of `index` and an item on `out`: each Step, then None, or the exception that
    ended it. Answers of one request share `out`.
    """

    model: str
    prompt: list[int]
    sampling: Sampling
    index: int
    out: queue.SimpleQueue[tuple[int, Any]]
    constraint: Constraint | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def put(self, item: Any) -> None:
        """Hands an item to the request."""
        self.out.put((self.index, item))


class Engine:
    """Owns the model. All work is on one thread, since torch keeps a pool of threads for every thread that calls it."""

    def __init__(self, model: Any, tokenizer: Any, base_name: str) -> None:
        self.tokenizer, self.base_name = tokenizer, base_name
        self.texts = TokenTexts(tokenizer)
        self.ends = end_token_ids(model, tokenizer)
        self.context = int(model.config.get_text_config().max_position_embeddings)
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self.width = int(model.config.get_text_config().hidden_size)
        self._model = model
        self._peft: Any = None
        self._adapters: dict[str, str] = {}  # public name -> name inside PEFT, which allows no dots
        self._made = 0
        self._current: str | None = None
        self._waiting: collections.deque[Generation | Callable[[], None]] = collections.deque()
        self._changed = threading.Condition()
        self.active = 0
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    def models(self) -> list[str]:
        """Names a request may use, the base first."""
        return [self.base_name, *self._adapters]

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def submit(self, generations: list[Generation]) -> None:
        """Queues the answers of one request; raises Busy when the queue is full."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise Busy(f"{MAX_WAITING} requests wait already", 1)
            self._waiting.extend(generations)
            self._changed.notify()

    def withdraw(self, generation: Generation) -> None:
        """Ends a request whose client has disconnected, waiting or running."""
        generation.cancelled.set()
        with self._changed:
            if generation in self._waiting:
                self._waiting.remove(generation)

    def call(self, work: Callable[[], Any]) -> Any:
        """Runs `work` on the engine's thread between two requests, and returns or raises what it does."""
        done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                done.put((work(), None))
            except BaseException as error:
                done.put((None, error))

        with self._changed:
            self._waiting.appendleft(run)
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
        if name not in self.models():
            raise Unloaded(name)
        self._select(name)
        return embed(self._model, inputs, self.tokenizer.pad_token_id)

    def load_adapter(self, name: str, directory: Path) -> None:
        """Loads a LoRA adapter under a public name, and replaces one of that name. Raises ModelLoad when it does not
        fit.
        """
        if name == self.base_name:
            raise ModelLoad("the base model's name is taken")
        check_adapter(name, directory)
        self.call(lambda: self._load(name, directory))

    def _load(self, name: str, directory: Path) -> None:
        from peft import PeftModel

        inner = f"a{self._made}"
        self._made += 1
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(
                    self._model, directory, adapter_name=inner, local_files_only=True
                )
            else:
                self._peft.load_adapter(directory, adapter_name=inner, local_files_only=True)
        except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
            raise ModelLoad(f"adapter {name} does not fit the base model: {error}") from error
        self._peft.eval()
        old = self._adapters.get(name)
        self._adapters[name] = inner
        self._current = None
        if old is not None:
            self._peft.delete_adapter(old)

    def unload_adapter(self, name: str) -> bool:
        """Unloads an adapter; False when no adapter has that name."""
        return self.call(lambda: self._unload(name))

    def _unload(self, name: str) -> bool:
        inner = self._adapters.pop(name, None)
        if inner is None:
            return False
        self._current = None
        self._peft.delete_adapter(inner)
        return True

    def _select(self, name: str) -> None:
        """Makes the model answer as `name`; does nothing when it already does."""
        if self._peft is None or name == self._current:
            return
        layers = self._peft.base_model
        if name == self.base_name:
            layers.disable_adapter_layers()
        else:
            layers.enable_adapter_layers()
            self._peft.set_adapter(self._adapters[name])
        self._current = name

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                item = self._waiting.popleft()
            if not isinstance(item, Generation):
                item()
                continue
            self.active = 1
            try:
                self._generate(item)
                item.put(None)
            except Exception as error:
                item.put(error)
            self.active = 0

    def _generate(self, item: Generation) -> None:
        if item.cancelled.is_set():
            return
        if item.model not in self.models():
            raise Unloaded(item.model)  # unloaded while the request waited
        self._select(item.model)
        steps = sample_tokens(
            self._model, item.prompt, item.sampling, self.ends, item.constraint, is_canceled=item.cancelled.is_set
        )
        for step in steps:
            if item.cancelled.is_set():
                return
            item.put(step)
