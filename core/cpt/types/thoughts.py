"""Thoughts in the text of an answer: the marks that begin and end one."""

from __future__ import annotations

import re

MARKS = {
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
}
"""What opens and closes a thought where it is no tag such as `<think>`."""
TAG = r"[\w:]*(?:think|thought|reason)\w*"
OPENS = rf"<{TAG}>|" + "|".join(map(re.escape, MARKS))
CLOSES = rf"</{TAG}>|" + "|".join(map(re.escape, MARKS.values()))
OPEN_START = re.compile(rf"\s*({OPENS})")
CLOSE = re.compile(CLOSES)


def split_thought(text: str) -> tuple[str, str]:
    """A thought without its marks, and the answer after it; a text without one is all answer.

    The mark that opens the thought may be missing: a model whose prompt ends with it does not
    repeat it.
    """
    begin = OPEN_START.match(text)
    closes = list(CLOSE.finditer(text))
    if closes:
        return text[begin.end() if begin else 0 : closes[-1].start()], text[closes[-1].end() :]
    return (text[begin.end() :], "") if begin else ("", text)
