"""Regular expressions made of given words: alternatives and character classes. They take linear time for any words."""

from __future__ import annotations

import re
from collections.abc import Iterable


def any_of(words: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the words, the longest first, as a group."""
    longest_first = sorted({word for word in words if word}, key=len, reverse=True)
    return re.compile("(" + "|".join(re.escape(word) for word in longest_first) + ")" if longest_first else r"(?!)")


def any_character(characters: Iterable[str], first: str, last: str) -> re.Pattern[str]:
    """Matches one of the characters, or one from `first` to `last`."""
    return re.compile(f"[{''.join(re.escape(one) for one in sorted(set(characters)))}{first}-{last}]")
