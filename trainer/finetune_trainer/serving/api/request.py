"""Checks a chat or completion request and turns it into prompts and sampling options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from ...model.sampling import Sampling
from ..constraints import Grammar, Grammars
from .errors import ApiError, invalid
from .fields import flag, integer, lone_surrogate, number, token_ids, token_numbers
from .known import check_fields
from .messages import chat_prompt, context_exceeded
from .response_format import format_grammar
from .tools import ToolUse, forced_grammar, read_tools

MAX_CHOICES = 128
MAX_PROMPTS = 2048
MAX_TOP_LOGPROBS = 20
MAX_TOKENS = 1_000_000


class ServedModel(Protocol):
    """What a request is checked against."""

    tokenizer: Any
    context: int
    vocabulary: int
    width: int
    grammars: Grammars

    def models(self) -> list[str]:
        """Names a request may use."""

    def tokenizer_of(self, name: str) -> Any:
        """The tokenizer with the chat template of a model."""


@dataclass(frozen=True)
class CompletionRequest:
    """A checked request. It has `n` choices for each prompt, chosen from `best_of` answers."""

    chat: bool
    model: str
    prompts: list[list[int]]
    sampling: Sampling
    n: int
    best_of: int
    stop: list[str]
    stream: bool
    include_usage: bool
    usage_in_chunks: bool
    echo: bool
    grammar: Grammar | None
    tools: ToolUse | None

    def sampling_of(self, prompt: list[int], nth: int, context: int) -> Sampling:
        """The options of the nth answer to a prompt: a seed of its own, and no more tokens than the context has room
        for. Answers that compete are scored.
        """
        sampling, room = self.sampling, context - len(prompt)
        return replace(
            sampling,
            max_new_tokens=min(sampling.max_new_tokens, room),
            seed=None if sampling.seed is None else (sampling.seed + nth) % 2**63,
            logprobs=0 if self.best_of > self.n and sampling.logprobs is None else sampling.logprobs,
        )


def parse_request(body: Any, engine: ServedModel, default_max: int, *, chat: bool) -> CompletionRequest:
    """Checks a request body against what this server can do; `default_max` bounds every answer, in tokens. Raises
    ApiError naming the parameter.
    """
    body = checked_body(body, engine)
    check_fields(body, chat=chat)
    stream = flag(body, "stream")
    options = _stream_options(body, stream)
    n = integer(body, "n", 1, 1, MAX_CHOICES)
    best_of = n if chat else integer(body, "best_of", n, 1, MAX_CHOICES)
    echo = not chat and flag(body, "echo")
    if best_of < n:
        raise invalid("best_of", "best_of must be at least n.")
    if best_of > n and stream:
        raise invalid("best_of", "best_of above n cannot be streamed: the best answers are known at the end.")
    own = engine.tokenizer_of(body["model"])
    tools = read_tools(body, own) if chat else None
    prompts = [chat_prompt(body, own, tools)] if chat else _prompts(body, engine)
    sampling = _sampling(body, engine, default_max, chat=chat, echo=echo)
    for prompt in prompts:
        if not prompt:
            raise invalid("messages" if chat else "prompt", "The prompt is empty.")
        if len(prompt) + (sampling.max_new_tokens > 0) > engine.context:
            raise context_exceeded(len(prompt), engine.context, "messages" if chat else "prompt")
    return CompletionRequest(
        chat=chat,
        model=body["model"],
        prompts=prompts,
        sampling=sampling,
        n=n,
        best_of=best_of,
        stop=_stop(body.get("stop")),
        stream=stream,
        include_usage=flag(options, "include_usage"),
        usage_in_chunks=flag(options, "continuous_usage_stats"),
        echo=echo,
        grammar=_grammar(body, tools, engine.grammars) if chat else None,
        tools=tools,
    )


def _grammar(body: dict[str, Any], tools: ToolUse | None, grammars: Grammars) -> Grammar | None:
    """What the answer must match: calls, when it has to call a tool, else its response_format."""
    formatted = format_grammar(body.get("response_format"), grammars)
    return forced_grammar(tools, grammars) or formatted


def checked_body(body: Any, engine: ServedModel) -> dict[str, Any]:
    """A body that is an object, holds only text that can be encoded, and names a model that is served."""
    if not isinstance(body, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    if (path := lone_surrogate(body)) is not None:
        message = f"Invalid {path!r}: it holds half of a surrogate pair, which is no character."
        raise ApiError(400, message, path, "invalid_text")
    model = body.get("model")
    if not isinstance(model, str):
        raise invalid("model", "model must be the name of a model.")
    if model not in engine.models():
        raise ApiError(404, f"The model {model[:200]!r} does not exist here.", "model", "model_not_found")
    return body


def _sampling(body: dict[str, Any], engine: ServedModel, default_max: int, *, chat: bool, echo: bool) -> Sampling:
    long_name = chat and body.get("max_completion_tokens") is not None
    limit = integer(
        body, "max_completion_tokens" if long_name else "max_tokens", default_max, 0 if echo else 1, MAX_TOKENS
    )
    seed = body.get("seed")
    if seed is not None and type(seed) is not int:
        raise invalid("seed", "seed must be an integer.")
    wanted = _logprobs(body, chat)
    top_k = integer(body, "top_k", 0, -1, MAX_TOKENS)
    penalty = number(body, "repetition_penalty", 1.0, 0, 10)
    if penalty == 0:
        raise invalid("repetition_penalty", "repetition_penalty must be above 0.")
    return Sampling(
        max_new_tokens=min(limit, default_max),
        temperature=number(body, "temperature", 1.0, 0, 2),
        top_p=number(body, "top_p", 1.0, 0, 1),
        top_k=max(0, top_k),
        min_p=number(body, "min_p", 0.0, 0, 1),
        repetition_penalty=penalty,
        presence_penalty=number(body, "presence_penalty", 0.0, -2, 2),
        frequency_penalty=number(body, "frequency_penalty", 0.0, -2, 2),
        logit_bias=token_numbers(body, "logit_bias", engine.vocabulary),
        seed=None if seed is None else seed % 2**63,
        min_new_tokens=integer(body, "min_tokens", 0, 0, MAX_TOKENS),
        ignore_end=flag(body, "ignore_eos"),
        stop_ids=frozenset(token_ids(body.get("stop_token_ids") or [], "stop_token_ids", engine.vocabulary)),
        logprobs=wanted,
        prompt_logprobs=wanted if echo else None,
    )


def _logprobs(body: dict[str, Any], chat: bool) -> int | None:
    """Alternatives to report for each token; None without log probabilities."""
    if not chat:
        return None if body.get("logprobs") is None else integer(body, "logprobs", 0, 0, MAX_TOP_LOGPROBS)
    if not flag(body, "logprobs"):
        if body.get("top_logprobs"):
            raise invalid("top_logprobs", "top_logprobs needs logprobs: true.")
        return None
    return integer(body, "top_logprobs", 0, 0, MAX_TOP_LOGPROBS)


def _prompts(body: dict[str, Any], engine: ServedModel) -> list[list[int]]:
    """The prompts of a completion: a text, texts, token ids, or lists of token ids."""
    value = body.get("prompt")
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value or len(value) > MAX_PROMPTS:
        raise invalid(
            "prompt", f"prompt must be a text, a list of token ids, or a list of up to {MAX_PROMPTS} of them."
        )
    if type(value[0]) is int:
        return [token_ids(value, "prompt", engine.vocabulary)]
    if all(isinstance(one, str) for one in value):
        return engine.tokenizer(value, add_special_tokens=False)["input_ids"]
    return [token_ids(one, f"prompt.{index}", engine.vocabulary) for index, one in enumerate(value)]


def _stream_options(body: dict[str, Any], stream: bool) -> dict[str, Any]:
    options = body.get("stream_options") or {}
    if not isinstance(options, dict) or (options and not stream):
        raise invalid("stream_options", "stream_options must be an object, and needs stream: true.")
    for name in options:
        if name not in ("include_usage", "continuous_usage_stats", "include_obfuscation"):
            raise ApiError(400, f"Unrecognized field in stream_options: {name[:80]}", "stream_options")
    return options


def _stop(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(s, str) for s in stops):
        raise invalid("stop", "stop must be a string or a list of up to four strings.")
    return [s for s in stops if s]
