"""OpenAI's requests and responses: checks a chat or completion request, and builds responses, chunks and errors."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from ..data.tokens import render
from .engine import Engine

# Accepted with these values only, which change nothing; other values are not supported.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False, None, 0),
    "top_logprobs": (None, 0),
    "echo": (False,),
    "suffix": (None, ""),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "auto", "none"),
    "modalities": (None, ["text"]),
    "functions": (None, []),
    "audio": (None,),
}


class ApiError(Exception):
    """An error as OpenAI's clients expect it."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        kind = {404: "invalid_request_error", 429: "rate_limit_error"}.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class CompletionRequest:
    """A checked request."""

    chat: bool
    model: str
    prompt: list[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: list[str]
    stream: bool
    include_usage: bool


def parse_request(body: Any, engine: Engine, default_max: int, *, chat: bool) -> CompletionRequest:
    """Checks a request body against what this server can do; raises ApiError naming the parameter."""
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    model = body.get("model")
    if model not in engine.models():
        raise ApiError(404, f"the model {model!r} does not exist here", "model", "model_not_found")
    for name, allowed in NEUTRAL.items():
        if name in body and not any(
            body[name] == value and type(body[name]) is not bool or body[name] is value for value in allowed
        ):
            raise ApiError(400, f"{name}={body[name]!r} is not supported by this server", name, "unsupported_value")
    prompt = engine.tokenizer(_prompt_text(body, engine, chat), add_special_tokens=False)["input_ids"]
    room = engine.context - len(prompt)
    if not prompt:
        raise ApiError(400, "the prompt is empty", "prompt")
    if room < 1:
        raise ApiError(
            400,
            f"the prompt has {len(prompt)} tokens, the model takes {engine.context}",
            "messages",
            "context_length_exceeded",
        )
    limit_name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    limit = _number(body, limit_name, default_max, 1, 1_000_000, whole=True)
    stream = body.get("stream") or False
    if not isinstance(stream, bool):
        raise ApiError(400, "stream must be true or false", "stream")
    options = body.get("stream_options") or {}
    if not isinstance(options, dict) or (options and not stream):
        raise ApiError(400, "stream_options needs stream=true", "stream_options")
    seed = body.get("seed")
    if seed is not None and type(seed) is not int:
        raise ApiError(400, "seed must be an integer", "seed")
    return CompletionRequest(
        chat=chat,
        model=model,
        prompt=prompt,
        max_new_tokens=int(min(limit, default_max, room)),
        temperature=_number(body, "temperature", 1.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 0, 1),
        seed=None if seed is None else seed % 2**63,
        stop=_stop(body.get("stop")),
        stream=stream,
        include_usage=bool(options.get("include_usage")),
    )


def _prompt_text(body: dict[str, Any], engine: Engine, chat: bool) -> str:
    if not chat:
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise ApiError(400, "prompt must be one string", "prompt")
        return prompt
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "messages must be a list with at least one message", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ApiError(400, f"messages[{index}] needs a role", f"messages.{index}.role")
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if not (content is None or isinstance(content, (str, list))) or any(
            not isinstance(p, dict)
            or p.get("type") not in ("text", "refusal")
            or not isinstance(p.get("text", ""), str)
            for p in parts
        ):
            raise ApiError(400, f"messages[{index}].content must be text", f"messages.{index}.content")
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise ApiError(400, "tools must be a list", "tools")
    try:
        return render(engine.tokenizer, messages, None if body.get("tool_choice") == "none" else tools, prompt=True)
    except Exception as error:  # templates raise what they like: roles must alternate, no system turn, ...
        raise ApiError(400, f"the model's chat template refuses these messages: {error}", "messages") from error


def _number(body: dict[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        raise ApiError(
            400, f"{name} must be {'an integer' if whole else 'a number'} from {low} to {high}", name, "invalid_value"
        )
    return value


def _stop(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(s, str) for s in stops):
        raise ApiError(400, "stop must be a string or a list of up to four strings", "stop")
    return [s for s in stops if s]


class CompletionResponse:
    """The frames of one response: same id and time in each chunk."""

    def __init__(self, order: CompletionRequest) -> None:
        self._order = order
        self._head = {
            "id": f"{'chatcmpl' if order.chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": order.model,
        }

    def usage(self, completion: int) -> dict[str, Any]:
        """Exact token counts; the end-of-answer token counts as generated."""
        prompt = len(self._order.prompt)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def whole(self, text: str, finish: str, completion: int) -> dict[str, Any]:
        """The response to a request without streaming."""
        inner = (
            {"message": {"role": "assistant", "content": text, "refusal": None}} if self._order.chat else {"text": text}
        )
        choice = {"index": 0, **inner, "logprobs": None, "finish_reason": finish}
        kind = "chat.completion" if self._order.chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": self.usage(completion)}

    def chunk(self, text: str | None, finish: str | None = None, *, first: bool = False) -> dict[str, Any]:
        """One streamed piece."""
        if self._order.chat:
            delta = {**({"role": "assistant"} if first else {}), **({} if text is None else {"content": text})}
            choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        else:
            choice = {"index": 0, "text": text or "", "logprobs": None, "finish_reason": finish}
        return self._frame([choice], None)

    def last(self, completion: int) -> dict[str, Any]:
        """The usage chunk, sent only when it was asked for."""
        return self._frame([], self.usage(completion))

    def _frame(self, choices: list[Any], usage: Any) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._order.chat else "text_completion"
        return {
            **self._head,
            "object": kind,
            "choices": choices,
            **({"usage": usage} if self._order.include_usage else {}),
        }
