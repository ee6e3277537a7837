"""A family of chat templates that write tool calls in the same way."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .reading import BLANK, Reader


def _call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


@dataclass(frozen=True)
class Form:
    """The text around calls as the family's templates write it, for answers that must be calls."""

    before: str  # with NAME for the call's name; its arguments follow
    after: str
    between: str = ""
    opening: str = ""  # before the first call
    closing: str = ""  # after the last one


@dataclass(frozen=True)
class Family:
    """How calls are written. `read(opener, tools)` reads what follows an opener.

    `first` are openers that count only where an answer begins and after a call; `filler` is what may be between calls.
    """

    parser: str  # vLLM's name of the same parser, where vLLM has one
    read: Callable[[str, list[Any]], Reader]
    openers: tuple[str, ...]
    recognizes: Callable[[str], bool]  # whether a chat template's text is of this family
    markers: tuple[str, ...]  # tokens of the markup, which some tokenizers call special and would leave out of the text
    first: tuple[str, ...] = ()
    filler: str = BLANK
    form: Form | None = None  # None when calls cannot be forced
    new_id: Callable[[], str] = _call_id
    vllm: bool = True  # whether vLLM has the parser
