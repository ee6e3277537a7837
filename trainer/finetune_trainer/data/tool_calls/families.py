"""Which family a chat template is of: one table for both engines, training's samples and evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .family import Family
from .gemma import FUNCTION_GEMMA, GEMMA_4
from .hermes import HERMES
from .llama import LLAMA
from .mistral import MISTRAL
from .phi import GRANITE, PHI, PHI_TAGS
from .pythonic import PYTHONIC, TOOL_CODE
from .qwen_coder import QWEN_CODER

# The first that recognizes a template is its family.
_JSON = (HERMES, MISTRAL, PHI, PHI_TAGS, GRANITE)
FAMILIES = (QWEN_CODER, *_JSON, FUNCTION_GEMMA, GEMMA_4, TOOL_CODE, PYTHONIC, LLAMA)


def family_of(template: str) -> Family | None:
    """The family of a chat template, by its text; None when it writes no calls that are known here."""
    return next((family for family in FAMILIES if family.recognizes(template)), None)


def template_text(value: Any) -> str:
    """The text of `chat_template` as tokenizers have it: one template, or several by name."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return "\n".join(template_text(one.get("template") if isinstance(one, dict) else one) for one in value)
    return value if isinstance(value, str) else ""


def family_of_tokenizer(tokenizer: Any) -> Family | None:
    """The family of a loaded tokenizer's template."""
    return family_of(template_text(getattr(tokenizer, "chat_template", None)))


def family_of_files(base: Path) -> Family | None:
    """The family of a base model's files."""
    written = base / "chat_template.jinja"
    if written.is_file():
        return family_of(written.read_text("utf-8", "replace"))
    config = base / "tokenizer_config.json"
    if not config.is_file():
        return None
    return family_of(template_text(json.loads(config.read_text("utf-8", "replace")).get("chat_template")))
