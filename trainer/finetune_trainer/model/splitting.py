"""How a GGUF file's tokenizer splits text before it merges bytes: the pre-tokenizer of each name that
`tokenizer.ggml.pre` may have, as tokenizers' JSON.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Step = dict[str, Any]

# Parts that the expressions of several models share.
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# llama.cpp knows no case outside of ASCII: its expressions for these models differ from those of their tokenizer.json.
UPPER, LOWER = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
UPPER_MARKED, LOWER_MARKED = r"(?:(?=[\p{L}\p{M}])[^a-z])", r"(?:(?=[\p{L}\p{M}])[^A-Z])"
PATHS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
ASCII_SIGNS = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""


class UnknownSplitting(ValueError):
    """A GGUF file's pre-tokenizer is not known here; the message names it."""


def _split(regex: str) -> Step:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def _bytes(words: bool) -> Step:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": words}


def _camel(upper: str, lower: str, ending: str) -> str:
    """Words that end where a lower-case letter is followed by an upper-case one."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    return f"{lead}{upper}*{lower}+{ending}|{lead}{upper}+{lower}*{ending}"


DIGITS = _split(r"\p{N}")
GPT2 = _bytes(True)
BYTES = _bytes(False)
LLAMA3 = rf"{ENDINGS}|{WORD}|\p{{N}}{{1,3}}|{SIGNS}|{SPACES}"
QWEN2 = rf"{ENDINGS}|{WORD}|\p{{N}}|{SIGNS}|{SPACES}"
DEEPSEEK = rf"{ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
WORDS_OF_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"


@dataclass(frozen=True)
class Splitting:
    """A pre-tokenizer, and whether a piece that is a token stays whole even if the merges do not form it."""

    names: tuple[str, ...]
    steps: tuple[Step, ...]
    ignore_merges: bool = False

    def pre_tokenizer(self) -> Step:
        """The `pre_tokenizer` of a tokenizer.json."""
        one, *more = self.steps
        return {"type": "Sequence", "pretokenizers": list(self.steps)} if more else one


# From llama.cpp's src/llama-vocab.cpp. Left out, and so refused: names whose splitting llama.cpp has in code instead of
# in expressions (kimi-k2, afmoe, tiny_aya, cohere2moe), and those that are not byte-level.
KNOWN: tuple[Splitting, ...] = (
    Splitting(("gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "modern-bert"), (GPT2,)),
    Splitting(("mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"), (GPT2,)),
    Splitting(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), (DIGITS, GPT2)),
    Splitting(("minerva-7b", "mellum2"), (DIGITS, GPT2)),
    Splitting(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        (_split(LLAMA3), BYTES),
        ignore_merges=True,
    ),
    Splitting(("dbrx", "smaug-bpe", "chatglm-bpe"), (_split(LLAMA3), BYTES)),
    Splitting(("glm4",), (_split(LLAMA3), BYTES), ignore_merges=True),
    Splitting(("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"), (_split(QWEN2), BYTES)),
    Splitting(
        ("stablelm2", "hunyuan", "solar-open", "grok-2", "bailingmoe", "bailingmoe2", "llada-moe"),
        (_split(QWEN2), BYTES),
    ),
    Splitting(
        ("qwen35",),
        (
            _split(
                rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
                rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
            ),
            BYTES,
        ),
    ),
    Splitting(("laguna",), (_split(r"[^\n]+|[\n]+"), _split(QWEN2), BYTES)),
    Splitting(
        ("minicpm5",),
        (_split(r"\p{N}{1,3}"), _split(rf"{ENDINGS}|{WORD}|\p{{N}}+|{SIGNS}|{SPACES}"), BYTES),
        ignore_merges=True,
    ),
    Splitting(
        ("seed-coder",),
        (_split(rf"{ENDINGS}|{WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{SPACES}"), BYTES),
    ),
    Splitting(
        ("exaone-moe",),
        (
            _split(
                rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
            ),
            BYTES,
        ),
    ),
    Splitting(
        ("jais-2",),
        (
            _split(
                rf"{ENDINGS}|{WORD}|\p{{N}}{{1,3}}|{SIGNS}|\s*[\r\n]+|"
                + "|".join(rf"\s{{{n}}}(?!\S)" for n in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2"))
                + r"|\s{1}"
            ),
            BYTES,
        ),
    ),
    Splitting(("tekken",), (_split(rf"{_camel(UPPER, LOWER, '')}|\p{{N}}|{PATHS}|{SPACES}"), BYTES), True),
    Splitting(
        ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"),
        (_split(rf"{_camel(UPPER, LOWER, f'{ENDINGS}?')}|\p{{N}}{{1,3}}|{PATHS}|{SPACES}"), BYTES),
    ),
    Splitting(
        ("granite-embed-multi-97m",),
        (_split(rf"{_camel(UPPER_MARKED, LOWER_MARKED, f'{ENDINGS}?')}|\p{{N}}{{1,3}}|{PATHS}|{SPACES}"), BYTES),
        ignore_merges=True,
    ),
    Splitting(
        ("deepseek-v3", "hunyuan-dense", "joyai-llm"),
        (_split(r"\p{N}{1,3}"), _split("[一-龥぀-ゟ゠-ヿ]+"), _split(DEEPSEEK), BYTES),
    ),
    Splitting(
        ("deepseek-coder",),
        (
            *(_split(r"[\r\n]"), _split(r"\s?\p{L}+"), _split(r"\s?\p{P}+"), _split(r"[一-龥ࠀ-一가-퟿&&[^\s]]+")),
            *(_split(r"\p{N}"), BYTES),
        ),
    ),
    Splitting(("falcon",), (_split(r"[\p{P}$+<=>^~|`]+"), _split(WORDS), _split("[0-9][0-9][0-9]"), BYTES)),
    Splitting(
        ("default",),
        (*(_split(r"[\p{P}$+<=>^~|]+"), _split(WORDS), _split(r"\p{N}+")), *(_split("[0-9][0-9][0-9]"), BYTES)),
    ),
    Splitting(("poro-chat", "bloom", "gpt3-finnish"), (_split(WORDS_OF_BLOOM), BYTES)),
    Splitting(("viking",), (_split(WORDS_OF_BLOOM), _split(r"\p{N}"), BYTES)),
    Splitting(("superbpe",), (_split(r"\p{N}+"), _split(r"(?=(\d{3})+(?!\d))"), BYTES)),
)
BY_NAME = {name: one for one in KNOWN for name in one.names}
SHOWN = ("add_prefix_space", "use_regex", "pattern", "behavior", "invert", "individual_digits")


def _comparable(pre: Step | None) -> list[tuple[Any, ...]]:
    """What decides how a pre-tokenizer splits, in an order of its own."""
    steps = (pre or {}).get("pretokenizers", [pre] if pre else [])
    # The same in other words, as the hub's SmolLM2 has it.
    apart = ("Digits", True)
    steps = [DIGITS if (step["type"], step.get("individual_digits")) == apart else step for step in steps]
    return [(step["type"], *(json.dumps(step.get(key), sort_keys=True) for key in SHOWN)) for step in steps]


def name_of(pre: Step | None, ignore_merges: bool) -> str | None:
    """The name that a GGUF file has for the pre-tokenizer of a tokenizer.json; None when there is none."""
    wanted = _comparable(pre)
    for one in KNOWN:
        if _comparable(one.pre_tokenizer()) == wanted and one.ignore_merges == ignore_merges:
            return one.names[0]
    return None


def known_splitting(name: str) -> Splitting:
    """Raises UnknownSplitting."""
    if name not in BY_NAME:
        raise UnknownSplitting(f"its tokenizer splits text as {name!r} (tokenizer.ggml.pre), which is not known here")
    return BY_NAME[name]


# Sizes in bytes of GGUF's plain types; the others are texts (8) and lists (9).
GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
GGUF_TEXT, GGUF_LIST = 8, 9


def gguf_texts(path: Path) -> dict[str, str]:
    """The fields of a GGUF file that are a text. Raises UnknownSplitting when it is not such a file."""
    found: dict[str, str] = {}
    with path.open("rb") as file:

        def number(kind: str) -> int:
            return struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))[0]

        def text() -> str:
            return file.read(number("Q")).decode("utf-8", "replace")

        try:
            if file.read(4) != b"GGUF" or number("I") < 2:
                raise UnknownSplitting(f"{path.name} is not a GGUF file that can be read here")
            _tensors, fields = number("Q"), number("Q")
            for _ in range(fields):
                key, kind = text(), number("I")
                if kind == GGUF_TEXT:
                    found[key] = text()
                    continue
                kind, count = (number("I"), number("Q")) if kind == GGUF_LIST else (kind, 1)
                if kind == GGUF_TEXT:
                    for _ in range(count):
                        file.seek(number("Q"), 1)
                else:
                    file.seek(GGUF_SIZES[kind] * count, 1)
        except (struct.error, KeyError) as error:
            raise UnknownSplitting(f"the header of {path.name} is damaged") from error
    return found


def gguf_tokenizer(path: Path) -> Any:
    """The tokenizer of a GGUF file, which splits text as the file says and as llama.cpp does. Raises UnknownSplitting.

    transformers knows few of the names, and splits text as GPT-2 does for all others.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    texts = gguf_texts(path)
    splitting = None
    if texts.get("tokenizer.ggml.model") == "gpt2":
        splitting = known_splitting(texts.get("tokenizer.ggml.pre", "default"))
    where = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
    if splitting:
        empty = {"type": "BPE", "vocab": {}, "merges": []}
        spec = {"version": "1.0", "model": empty, "added_tokens": [], "pre_tokenizer": splitting.pre_tokenizer()}
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = Tokenizer.from_str(json.dumps(spec)).pre_tokenizer
        backend.model.ignore_merges = splitting.ignore_merges
    return tokenizer
