"""Which script a text is written in."""

from __future__ import annotations

import re

SCRIPTS = {
    "Latin": "A-Za-z\u00c0-\u024f",
    "Greek": "\u0370-\u03ff",
    "Cyrillic": "\u0400-\u052f",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "Kana": "\u3040-\u30ff",
    "Han": "\u3400-\u9fff",
}
"""Letters by script, as ranges of a character class."""
PATTERNS = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}
LOOKED_AT = 400
"""Characters from the begin of a text."""
LEAST = 10
"""Letters that tell a script."""
CLEAR = 0.7
"""Share of the letters that are of it."""


def script_of(text: str) -> str:
    """The script of most letters at the begin of a text; empty if that is not clear.

    Japanese mixes Kana and Han, so that both count as Kana where there is any.
    """
    begin = text[:LOOKED_AT]
    if begin.isascii():
        letters = sum(map(str.isalpha, begin))
        return "Latin" if letters >= LEAST else ""
    counts = {name: len(pattern.findall(begin)) for name, pattern in PATTERNS.items()}
    if counts["Kana"]:
        counts["Kana"] += counts.pop("Han")
    best = max(counts, key=lambda name: counts[name])
    clear = counts[best] >= LEAST and counts[best] >= CLEAR * sum(counts.values())
    return best if clear else ""
