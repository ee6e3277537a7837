"""The chat template with tools, for base models of the ChatML family whose own template shows none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from ..protocol.failures import TrainingFailed

MARKS = ("<|im_start|>", "<|im_end|>")
TEMPLATE_FILE = "chat_template.jinja"
"""The file of a model, or of an adapter that has a template of its own."""


def tool_template() -> str:
    """The text of the template."""
    return Path(__file__).with_name("tools.jinja").read_text("utf-8")


def use_tool_template(tokenizer: Any) -> None:
    """Gives a tokenizer the template with tools. Raises TrainingFailed unless it has ChatML's tokens."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    if not added.issuperset(MARKS):
        raise TrainingFailed(
            "bad_spec",
            f"the template with tools needs the tokens {' and '.join(MARKS)}, which this base model does not have",
            "Leave chat_template out, and choose a base model whose own template shows tools.",
        )
    tokenizer.chat_template = tool_template()


def with_template(tokenizer: Any, template: str) -> Any:
    """The same tokenizer with another chat template."""
    copied = copy.copy(tokenizer)
    copied.chat_template = template
    return copied


def own_template(directory: Path) -> str | None:
    """The chat template among the files of a fine-tuned model; None when it uses its base's."""
    file = directory / TEMPLATE_FILE
    return file.read_text("utf-8") if file.is_file() else None
