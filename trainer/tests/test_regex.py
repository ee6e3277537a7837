"""No regular expression of the trainer takes long on long hostile text: quadratic ones would hold a run up."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_trainer.data.patterns import any_character, any_of

PACKAGE = Path(__file__).resolve().parent.parent / "finetune_trainer"
CALLS = ("compile", "match", "search", "sub", "subn", "split", "fullmatch", "findall", "finditer")

# Runs in a process of its own: a search that does not end is stopped with it. Prints how long the slowest text took,
# and what a quarter of it took.
PROBE = """
import itertools, json, re, sys, time
source, flags, is_bytes, words = json.loads(sys.argv[1])
pattern = re.compile(source.encode("latin1") if is_bytes else source, flags)
pieces = [" ", "\\n", "\\t", "a", "0", "-", "_", ".", ":", ";", "=", "/"]
pieces += ["\\\\", '"', "(", "[", "]", "{", "a ", "a.", "0-", "[0"]
pieces += [*words, "".join(words)] if words else []
def took(text):
    given = text.encode("latin1") if is_bytes else text
    begun = time.process_time()
    for _ in pattern.finditer(given): pass
    pattern.match(given), pattern.fullmatch(given)
    return time.process_time() - begun
worst = (0, 0, "")
starts = ["", "a", *words]
for size, start, piece, end in itertools.product((1_500, 12_000, 50_000), starts, pieces, ("", "\\x01")):
    text = start + piece * (size // len(piece)) + end
    now = took(text)
    if now > worst[0]: worst = (now, took(text[: size // 4] + end), text[:30])
    if now > 0.5: break
print(json.dumps(worst))
"""


def words_in(source: str) -> list:
    """The fixed texts of an expression, in their order."""
    words, word, in_class, at = [], "", False, 0
    while at < len(source):
        char, escaped = source[at], source[at] == "\\"
        if escaped:
            at += 1
            char = source[at]
        at += 1
        if in_class:
            in_class = escaped or char != "]"
        elif (char.isalnum() or char.isspace()) if escaped else char in "()|^$*+?{}.[":
            in_class = char == "[" and not escaped
            words.append(word)
            word = ""
        else:
            word += char
    return [each for each in [*words, word] if each]


def literals() -> list:
    """Path and line, source, flags, and whether it is of bytes, of every expression in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).as_posix() == "data/patterns.py":
            continue  # made of given words: tested below
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re"):
                continue
            where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
            assert isinstance(node.args[0], ast.Constant), f"{where}: write the expression as a literal"
            source = node.args[0].value
            is_bytes = isinstance(source, bytes)
            text = ast.unparse(node)
            flags = 2 * ("IGNORECASE" in text) | 8 * ("MULTILINE" in text) | 16 * ("DOTALL" in text)
            found.append((where, source.decode("latin1") if is_bytes else source, flags, is_bytes))
    return found


def slow(source: str, flags: int, is_bytes: bool, timeout: int = 60) -> str | None:
    """Why an expression is slow, or None. Linear ones take milliseconds, and four times as long for longer texts.
    `timeout` in seconds.
    """
    given = json.dumps([source, flags, is_bytes, words_in(source)])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROBE, given], capture_output=True, text=True, timeout=timeout, check=True
        )
    except subprocess.TimeoutExpired:
        return f"does not end within {timeout} s"
    took, quarter, text = json.loads(done.stdout)
    return f"{took:.2f} s for {text!r}…" if took > 0.5 or (took > 0.1 and took > 8 * quarter) else None


@pytest.mark.parametrize("source", [r"\s+$", r"(\d+)gb", r"^(a+)+$", r"\[\w*?(\d+)\]:(.*)", r"begin .*end"])
def test_slow_expressions_are_found(source: str) -> None:
    assert slow(source, 0, False, timeout=5)


@pytest.mark.parametrize(
    "made",
    [any_of(["<|im_end|>", "<|im_end|>\n", "<<", "a|b)"]), any_of([]), any_character("<[^]-", "\ue000", "\uf8ff")],
)
def test_expressions_made_of_words_take_linear_time(made: re.Pattern[str]) -> None:
    assert slow(made.pattern, 0, False) is None


def test_expressions_made_of_words_match_those_words() -> None:
    assert any_of(["<a>", "<a>b", "c|d"]).split("x<a>bc|d") == ["x", "<a>b", "", "c|d", ""]
    assert any_of([]).split("abc") == ["abc"]
    assert [found[0] for found in any_character("]^-\\", "x", "z").finditer("a]b^c-\\yw")] == ["]", "^", "-", "\\", "y"]


@pytest.mark.parametrize(("where", "source", "flags", "is_bytes"), literals())
def test_no_expression_takes_longer_than_its_text(where: str, source: str, flags: int, is_bytes: bool) -> None:
    assert slow(source, flags, is_bytes) is None, where
