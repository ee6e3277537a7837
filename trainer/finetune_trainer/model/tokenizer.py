"""Loading the tokenizer of a model: local files only, no remote code, and without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from ..data.tool_template import own_template
from ..protocol.failures import ModelLoad

LOCAL_ONLY = {"local_files_only": True, "trust_remote_code": False}


def load_tokenizer(directory: Path, tuned: Path | None = None) -> Any:
    """The tokenizer of a model directory, with a padding token. Raises ModelLoad when it has no chat template.

    `tuned`: the directory of a fine-tuned model, whose chat template is used if it has one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, **LOCAL_ONLY)
    except Exception as error:
        raise ModelLoad(f"the tokenizer cannot be loaded: {error}") from error
    if tuned is not None and (template := own_template(tuned)) is not None:
        tokenizer.chat_template = template
    if not tokenizer.chat_template:
        raise ModelLoad("the model has no chat template; choose an instruct model, or add chat_template.jinja to it")
    if not tokenizer.is_fast:
        raise ModelLoad("the model has no fast tokenizer (tokenizer.json)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
