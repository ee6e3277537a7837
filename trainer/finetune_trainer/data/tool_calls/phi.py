"""Phi-4 mini: `functools[{"name": …, "arguments": {…}}]`, or the same between `<|tool_call|>` and its end; and Granite,
whose lists have no end mark.
"""

from __future__ import annotations

from typing import Any

from .family import Family, Form
from .reading import Reader, read_calls

FUNCTOOLS, TAG, TAG_END = "functools[", "<|tool_call|>", "<|/tool_call|>"
BEFORE, AFTER, BETWEEN = '{"name": "NAME", "arguments": ', "}", ", "


def _read(opener: str, tools: list[Any]) -> Reader:
    return read_calls(TAG_END) if opener == TAG else read_calls(first="[")


PHI = Family(
    "phi4_mini_json",
    _read,
    (FUNCTOOLS, TAG),
    lambda template: FUNCTOOLS in template,
    (TAG, TAG_END),
    form=Form(BEFORE, AFTER, BETWEEN, FUNCTOOLS, "]"),
)
PHI_TAGS = Family(
    "phi4_mini_tags",
    _read,
    (TAG,),
    lambda template: TAG in template and TAG_END in template,
    (TAG, TAG_END),
    form=Form(BEFORE, AFTER, BETWEEN, f"{TAG}[", f"]{TAG_END}"),
    vllm=False,
)
GRANITE = Family(
    "granite",
    lambda opener, tools: read_calls(),
    (TAG,),
    lambda template: TAG in template,
    (TAG,),
    form=Form(BEFORE, AFTER, BETWEEN, f"{TAG}[", "]"),
)
