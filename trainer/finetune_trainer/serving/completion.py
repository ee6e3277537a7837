"""One completion request on the engine: its answers as they come, as a whole or as the events of a stream."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

from ..data.tool_calls.answers import hidden_tokens
from ..data.tool_calls.stream import Piece, ToolCall, ToolCallStream
from ..model.sampling import Step
from .api.errors import ApiError, invalid
from .api.logprobs import LogprobsWriter, TokenTexts
from .api.request import CompletionRequest
from .api.response import Answer, Choice
from .constraints import TooComplex
from .detokenize import TextStream
from .engine import Busy, Engine, Generation

POLL_EVERY_S = 0.5


class _Writing:
    """An answer as far as it has come."""

    def __init__(self, request: CompletionRequest, prompt: list[int], texts: TokenTexts) -> None:
        self._tokenizer = texts.tokenizer
        tools = request.tools
        self._calls = tools and ToolCallStream(tools.family, tools.definitions, single=tools.single)
        hidden = tools and hidden_tokens(texts.tokenizer, tools.family)
        self._stream = TextStream(texts.tokenizer, request.stop, hidden)
        self._prompt = prompt
        self.logprobs = LogprobsWriter(texts, chat=request.chat) if request.sampling.logprobs is not None else None
        self.text = ""
        self.calls: list[ToolCall] = []
        self.tokens = 0
        self.finish: str | None = None
        self.score = 0.0  # the sum of log probabilities

    def take(self, step: Step) -> list[Piece]:
        """What is final after one more token: text, and complete tool calls."""
        self.tokens += 1
        self.score += step.logprob or 0.0
        if self.logprobs is not None:
            self.logprobs.add(step)
        if step.ends:
            self.finish = "stop"
            return []
        return self._grow(self._stream.feed(step.token))

    def end(self) -> list[Piece]:
        """What was held back; sets how the answer ended."""
        rest = self._grow(self._stream.finish())
        if self._calls is not None:
            rest += self._keep(self._calls.finish())
        self.finish = self.finish or "length"
        if self.calls and self.finish == "stop":
            self.finish = "tool_calls"
        return rest

    def echo(self, scores: list[Step]) -> list[Piece]:
        """Puts the prompt before the answer, with the log probabilities of its tokens where they were asked for."""
        if self.logprobs is not None:
            self.logprobs.add_prompt(scores)
        self.text = self._tokenizer.decode(self._prompt, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return [self.text]

    def _grow(self, text: str) -> list[Piece]:
        pieces = self._keep([text] if self._calls is None else self._calls.feed(text))
        if self.stopped:
            self.finish = "stop"
        return pieces

    def _keep(self, pieces: list[Piece]) -> list[Piece]:
        self.text += "".join(piece for piece in pieces if isinstance(piece, str))
        self.calls += [piece for piece in pieces if isinstance(piece, ToolCall)]
        return pieces

    @property
    def stopped(self) -> bool:
        """A stop string or the only call that may be was found: no more tokens are wanted."""
        return self._stream.stopped or (self._calls is not None and self._calls.done)


class Completion:
    """Submits the answers of a request and reads them. `check_client` raises OSError when the client is away."""

    def __init__(self, engine: Engine, request: CompletionRequest, check_client: Callable[[], None]) -> None:
        self._engine, self._request, self._check_client = engine, request, check_client
        self._answer = Answer(request)
        self._out: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._generations: list[Generation] = []
        self._writing: list[_Writing] = []
        for prompt in request.prompts:
            for nth in range(request.best_of):
                sampling, index = request.sampling_of(prompt, nth, engine.context), len(self._generations)
                constraint = request.grammar and request.grammar.constraint()
                self._generations.append(Generation(request.model, prompt, sampling, index, self._out, constraint))
                self._writing.append(_Writing(request, prompt, engine.texts))
        try:
            engine.submit(self._generations)
        except Busy as error:
            raise ApiError(
                429, f"The endpoint is busy: {error}.", code="rate_limit_exceeded", retry_after=error.retry_after
            ) from error

    def withdraw(self) -> None:
        """Ends what is still generated."""
        for generation in self._generations:
            self._engine.withdraw(generation)

    def whole(self) -> dict[str, Any]:
        """The answer to a request without streaming."""
        for _ in self._pieces():
            pass
        return self._answer.whole(self._chosen(), self._tokens())

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of a stream."""
        opened: set[int] = set()
        for index, pieces, ended in self._pieces():
            writing = self._writing[index]
            if self._request.chat and index not in opened:
                opened.add(index)
                yield self._answer.first(index)
            for piece in filter(None, pieces):
                logprobs = writing.logprobs and writing.logprobs.take()
                if isinstance(piece, str):
                    yield self._answer.piece(index, piece, logprobs, self._tokens())
                else:
                    yield from self._answer.call(index, piece, logprobs, self._tokens())
            if ended:
                logprobs = writing.logprobs and writing.logprobs.take()
                yield self._answer.end(index, writing.finish or "length", logprobs, self._tokens())
        if self._request.include_usage:
            yield self._answer.last(self._tokens())

    def _tokens(self) -> int:
        return sum(writing.tokens for writing in self._writing)

    def _chosen(self) -> list[Choice]:
        """The answers to return: for each prompt the `n` best of `best_of`, in the order they were asked for."""
        n, best_of = self._request.n, self._request.best_of
        chosen = []
        for first in range(0, len(self._writing), best_of):
            group = self._writing[first : first + best_of]
            if best_of > n:
                group = sorted(group, key=lambda one: -one.score / max(1, one.tokens))[:n]
            chosen += [
                Choice(w.text, w.finish or "length", w.tokens, w.logprobs and w.logprobs.take(), w.calls) for w in group
            ]
        return chosen

    def _pieces(self) -> Iterator[tuple[int, list[Piece], bool]]:
        """Choice, what is new in it, and whether it has ended; as they come."""
        left = len(self._generations)
        if self._request.echo and self._request.sampling.prompt_logprobs is None:
            for index, writing in enumerate(self._writing):
                yield index, writing.echo([]), False
        for index, item in self._items():
            writing = self._writing[index]
            if writing.stopped:
                continue  # tokens that were generated before the engine knew
            if isinstance(item, Step):
                yield index, writing.take(item), False
                if writing.stopped:
                    self._engine.withdraw(self._generations[index])
                    yield index, writing.end(), True
                    left -= 1
            elif item is None:
                yield index, writing.end(), True
                left -= 1
            else:
                yield index, writing.echo(item), False
            if left == 0:
                return
            self._check_client()

    def _items(self) -> Iterator[tuple[int, Any]]:
        """What the engine gives. Looks for a client that has disconnected, and raises a failure as the request's."""
        while True:
            try:
                index, item = self._out.get(timeout=POLL_EVERY_S)
            except queue.Empty:
                self._check_client()
                continue
            if isinstance(item, TooComplex):
                # Only the request's own schemas make grammars that are too complex.
                forced = self._request.tools is not None and self._request.tools.forced
                message = f"The schema is too complex for an answer to follow it: {item}. Use a smaller one."
                raise invalid("tools" if forced else "response_format", message, "invalid_json_schema") from item
            if isinstance(item, BaseException):
                raise item
            yield index, item
