"""What the model sees of a conversation: the fewest renderings in which every trained turn follows the very prompt that
asks for it, and where the turn's own words are in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .special import Protected, SpecialTokens, SpecialTokensOption
from .template import REASONING, Message, TemplateRefused, apply, protected

PROBES = ("Amber", "Zinc")
"""Answers to find the template's own words around a turn: without a common beginning or end."""
OPEN_THINK, CLOSED_THINK = "<think>", "</think>"


@dataclass(frozen=True)
class Turn:
    """An assistant turn as it was asked for: `text` is the prompt and the answer, whose own words and end token are
    `text[begin:end]`. `said` is where they begin after the reasoning; without any it is `begin`.
    """

    index: int
    text: str
    begin: int
    end: int
    said: int


@dataclass(frozen=True)
class View:
    """A rendering, and the turns in the loss that it holds as the model sees them."""

    text: str
    turns: list[Turn]


@dataclass(frozen=True)
class Views:
    """The views of a row; `whole` is the rendering of all messages. `lost` turns cannot be located; of `silent` turns
    the template renders nothing, by what they hold.
    """

    hidden: Protected
    whole: str
    views: list[View]
    lost: list[int]
    silent: dict[int, str]


class EndOfTurn:
    """Finds where a turn ends: after the first end token that only white space follows, for no model generates more."""

    def __init__(self, special: SpecialTokens, end_ids: set[int]) -> None:
        self._ends = [word for one in end_ids if (word := special.tokenizer.convert_ids_to_tokens(one))]
        self._special = special

    def after(self, text: str) -> int:
        """The length of a turn within a text that begins with its words."""
        first, at = None, len(text)
        while at > 0:
            if text[at - 1].isspace():
                at -= 1
            elif word := next((word for word in self._ends if text.endswith(word, 0, at)), None):
                first, at = at, at - len(word)
            else:
                break
        if first is not None:
            return first
        # A template may close turns with a special token that does not end generation by the model's configuration.
        words = text.rstrip()
        return len(words) if any(words.endswith(word) for word in self._special.words) else len(text)


def in_the_loss(message: Message) -> bool:
    """Whether a turn is an assistant's with weight 1."""
    return message.get("role") == "assistant" and message.get("weight", 1) != 0


def views_of(
    tokenizer: Any, row: dict[str, Any], ends: EndOfTurn, option: SpecialTokensOption, *, masked: bool
) -> Views:
    """The views of a row. Unless `masked`, the whole rendering is the only one. Raises TemplateRefused."""
    turns, tools, hidden = protected(tokenizer, row["messages"], row.get("tools"), option)
    conversation = Conversation(lambda messages, prompt: apply(tokenizer, messages, tools, prompt=prompt), turns, ends)
    whole = conversation.text(len(turns), False)
    wanted = [index for index, message in enumerate(row["messages"]) if in_the_loss(message)] if masked else []
    found = [conversation.turn(index) for index in wanted]
    silent = {i: why for i, turn in zip(wanted, found, strict=True) if (why := conversation.unsaid(i, turn))}
    lost = [i for i, turn in zip(wanted, found, strict=True) if turn is None and i not in silent]
    located = [turn for turn in found if turn and turn.index not in silent]
    return Views(hidden, whole, cover(whole, located), lost, silent)


def cover(whole: str, turns: list[Turn]) -> list[View]:
    """The fewest renderings that hold all turns, in order. A turn that is stable is in the whole rendering."""
    views, left = [], turns
    while left:
        candidates = ([whole] if left is turns else []) + [left[-1].text]
        held = [[turn for turn in left if text.startswith(turn.text[: turn.end])] for text in candidates]
        best = max(range(len(candidates)), key=lambda at: len(held[at]))
        views.append(View(candidates[best], held[best]))
        kept = {turn.index for turn in held[best]}
        left = [turn for turn in left if turn.index not in kept]
    return sorted(views, key=lambda view: view.turns[0].index) or [View(whole, [])]


class Conversation:
    """A conversation's renderings, and where its assistant turns are in them."""

    def __init__(
        self,
        rendered: Callable[[list[Message], bool], str],
        messages: list[Message],
        ends: EndOfTurn,
    ) -> None:
        self._render, self._messages, self._ends = rendered, messages, ends
        self._texts: dict[tuple[int, bool], str] = {}

    def text(self, count: int, prompt: bool) -> str:
        """The first messages as text."""
        if (count, prompt) not in self._texts:
            self._texts[count, prompt] = self._render(self._messages[:count], prompt)
        return self._texts[count, prompt]

    def turn(self, index: int) -> Turn | None:
        """An assistant turn after the prompt that asks for it; None when the template does not render it alone."""
        try:
            after = self.text(index + 1, False)
        except TemplateRefused:
            return None
        before = self._asked(index)
        if before is not None and after.startswith(before):
            begin = len(before)
        else:
            own = self._own_words(index, after)
            if own is None:
                return None
            if before is None:
                begin = own
            else:  # the template renders prompts and history differently: the model is asked by the prompt
                begin, after = len(before), before + closed_think(before) + after[own:]
        end = begin + self._ends.after(after[begin:])
        if end <= begin:
            return None
        return Turn(index, after, begin, end, min(end, after_reasoning(after, begin, self._messages[index])))

    def _asked(self, index: int) -> str | None:
        """The prompt that asks for a turn. Nothing asks for the first one."""
        try:
            return self.text(index, True) if index else None
        except TemplateRefused:
            return None

    def _own_words(self, index: int, after: str) -> int | None:
        """Where the words of a turn begin in the rendering that ends with it, found by two other answers."""
        try:
            probes = [
                self._render([*self._messages[:index], {"role": "assistant", "content": probe}], False)
                for probe in PROBES
            ]
            opened = self.text(index + 1, True)
        except TemplateRefused:
            return None
        if not all(probe in text for probe, text in zip(PROBES, probes, strict=True)):
            return None
        header = os.path.commonprefix([*probes, after])
        # What a generation prompt leaves to the model (an empty <think> block, for example) is the turn's own.
        generation = opened[len(os.path.commonprefix([opened, after])) :]
        at = header.rfind(generation) if generation else -1
        # A space after the header is generated by the model; a prompt without it ends before it.
        return at + len(generation) if at >= 0 else len(header.rstrip(" "))

    def unsaid(self, index: int, turn: Turn | None) -> str | None:
        """What a turn holds, when the template renders nothing of it."""
        message = self._messages[index]
        calls = message.get("tool_calls") or []
        holds = {
            "tool calls": [str((call.get("function") or {}).get("name") or "") for call in calls],
            "reasoning": [str(message.get(REASONING[0]) or "").strip()],
            "content": [message["content"].strip()],
        }
        said = [what for what, texts in holds.items() if any(texts)]
        words = turn.text[turn.begin : turn.end] if turn else ""
        if not said or any(text and text in words for texts in holds.values() for text in texts):
            return None
        try:
            after = self.text(index + 1, False)
            nothing = self._render([*self._messages[:index], {"role": "assistant", "content": ""}], False)
            same = after.strip() in (nothing.strip(), self.text(index, False).strip() if index else "")
        except TemplateRefused:
            same = False
        return " and ".join(said) if same else None


def after_space(text: str, at: int) -> int:
    """The first place at or after `at` that is not white space."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def after_reasoning(text: str, begin: int, message: Message) -> int:
    """Where an answer begins after the reasoning in front of it; `begin` without any."""
    reasoning, content = str(message.get(REASONING[0]) or "").strip(), message["content"].strip()
    if not reasoning or (at := text.find(reasoning, begin)) < 0:
        opened = after_space(text, begin)
        closed = text.find(CLOSED_THINK, opened) if text.startswith(OPEN_THINK, opened) else -1
        return after_space(text, closed + len(CLOSED_THINK)) if closed >= 0 else begin
    at += len(reasoning)
    if content and (answer := text.find(content, at)) >= 0:
        return answer
    closed = after_space(text, at)
    end = next((word for word in (CLOSED_THINK, "</thinking>") if text.startswith(word, closed)), None)
    return after_space(text, closed + len(end)) if end else at


def closed_think(prompt: str) -> str:
    """The end of a reasoning block that a prompt opens and the rendering of an answer leaves out."""
    return f"\n{CLOSED_THINK}\n\n" if prompt.rstrip().endswith(OPEN_THINK) else ""
