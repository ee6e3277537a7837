"""Builds the answers of completion requests: whole answers, and the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...data.tool_calls.stream import ToolCall
from .request import CompletionRequest


@dataclass
class Choice:
    """One finished answer. `logprobs` is in the form of the request; `tokens` counts the end token too."""

    text: str
    finish: str
    tokens: int
    logprobs: dict[str, Any] | None = None
    calls: list[ToolCall] = field(default_factory=list)


@dataclass
class Answer:
    """The frames of one answer: same id and time in each of them."""

    request: CompletionRequest
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.id = self.id or f"{'chatcmpl' if self.request.chat else 'cmpl'}-{uuid.uuid4().hex}"

    def usage(self, completion: int) -> dict[str, Any]:
        """Exact token counts; the end-of-answer token counts as generated."""
        prompt = sum(len(one) for one in self.request.prompts)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def whole(self, choices: list[Choice], completion: int) -> dict[str, Any]:
        """The answer to a request without streaming. `completion` counts the tokens of all answers."""
        kind = "chat.completion" if self.request.chat else "text_completion"
        shaped = [{"index": index, **self._choice(choice)} for index, choice in enumerate(choices)]
        return {**self._head(kind), "choices": shaped, "usage": self.usage(completion)}

    def _choice(self, choice: Choice) -> dict[str, Any]:
        end = {"logprobs": choice.logprobs, "finish_reason": choice.finish}
        if not self.request.chat:
            return {"text": choice.text, **end}
        calls = {"tool_calls": [call.message() for call in choice.calls]} if choice.calls else {}
        content = choice.text if choice.text or not calls else None
        return {"message": {"role": "assistant", "content": content, "refusal": None, **calls}, **end}

    def first(self, index: int) -> dict[str, Any]:
        """The chunk that opens a chat choice. With tools it may have no content at all, only calls."""
        content = None if self.request.tools else ""
        return self._chunk(index, {"delta": {"role": "assistant", "content": content}}, None, None, 0)

    def piece(self, index: int, text: str, logprobs: Any, completion: int) -> dict[str, Any]:
        """A streamed piece of text."""
        inner = {"delta": {"content": text}} if self.request.chat else {"text": text}
        return self._chunk(index, inner, logprobs, None, completion)

    def call(self, index: int, call: ToolCall, logprobs: Any, completion: int) -> Iterator[dict[str, Any]]:
        """The chunks of a tool call: its name, then its arguments."""
        whole = call.message()
        named = {**whole, "function": {"name": call.name, "arguments": ""}}
        for delta, logs in ((named, logprobs), ({"function": {"arguments": call.arguments}}, None)):
            yield self._chunk(
                index, {"delta": {"tool_calls": [{"index": call.index, **delta}]}}, logs, None, completion
            )

    def end(self, index: int, finish: str, logprobs: Any, completion: int) -> dict[str, Any]:
        """The chunk that ends a choice."""
        return self._chunk(index, {"delta": {}} if self.request.chat else {"text": ""}, logprobs, finish, completion)

    def last(self, completion: int) -> dict[str, Any]:
        """The usage chunk, sent only when it was asked for."""
        return {**self._head(self._chunk_kind()), "choices": [], "usage": self.usage(completion)}

    def _chunk(
        self, index: int, inner: dict[str, Any], logprobs: Any, finish: str | None, completion: int
    ) -> dict[str, Any]:
        choice = {"index": index, **inner, "logprobs": logprobs, "finish_reason": finish}
        usage = {"usage": self.usage(completion) if self.request.usage_in_chunks else None}
        return {
            **self._head(self._chunk_kind()),
            "choices": [choice],
            **(usage if self.request.include_usage else {}),
        }

    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.request.chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.request.model}
