"""The fields of a completion request: obeyed, harmless, or accepted with values that change nothing; others are refused
by name.
"""

from __future__ import annotations

import json
from typing import Any

from .errors import ApiError, invalid
from .fields import shortened

# Obeyed for both forms.
SHARED = frozenset(
    (
        "model",
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "n",
        "logprobs",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "top_k",
        "min_p",
        "repetition_penalty",
        "stop_token_ids",
        "ignore_eos",
        "min_tokens",
    )
)
CHAT = SHARED | frozenset(
    (
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_completion_tokens",
        "top_logprobs",
        "response_format",
    )
)
COMPLETION = SHARED | frozenset(("prompt", "best_of", "echo"))
# Fields of OpenAI's that say nothing about the answer: who asks, where it is stored and billed, how it is cached, what
# it will probably be, and the voice of an answer that is spoken, which `modalities` asks for.
HARMLESS = frozenset(
    (
        "user",
        "store",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "prediction",
        "audio",
    )
)
# Accepted with these values only, which change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "suffix": ("",),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "verbosity": ("medium",),
    "reasoning_effort": ("none",),
    "web_search_options": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "add_special_tokens": (False,),
    "use_beam_search": (False,),
    "length_penalty": (1.0,),
    "prompt_logprobs": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
}
INSTEAD = {
    "guided_json": " Use response_format with a json_schema.",
    "structured_outputs": " Use response_format with a json_schema.",
    "functions": " Use tools.",
    "function_call": " Use tool_choice.",
    "prompt_logprobs": " Use /v1/completions with echo and logprobs.",
}


def check_fields(body: dict[str, Any], *, chat: bool) -> None:
    """Refuses every field that this server would not obey. Raises ApiError naming the field."""
    known = CHAT if chat else COMPLETION
    for name, value in body.items():
        if name in known or name in HARMLESS or value is None:
            continue
        if name not in NEUTRAL:
            raise ApiError(
                400, f"Unrecognized request argument supplied: {shortened(name)}", shortened(name), "unknown_parameter"
            )
        allowed = NEUTRAL[name]
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
            only = f" Only its default, {json.dumps(allowed[0])}, is accepted." if allowed and allowed[0] != {} else ""
            raise invalid(
                name, f"{name} is not supported by this server.{only}{INSTEAD.get(name, '')}", "unsupported_value"
            )
