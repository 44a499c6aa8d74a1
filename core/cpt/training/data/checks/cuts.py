"""Which of two answers was cut short, as their ends show it."""

from __future__ import annotations

SHORTEST_CUT = 60
"""Characters of an answer whose last sentence may be cut."""
ENDS = frozenset(".!?:;)]}>\"'`*_~|\u201d\u2019\u3002\uff01\uff1f\u2026")
"""What a whole text may end with."""


def cut_side(chosen: str, rejected: str) -> str:
    """`chosen` or `rejected`, whichever ends too early; nothing if neither does or both do."""
    chosen, rejected = chosen.rstrip(), rejected.rstrip()
    cut = {"chosen": _is_cut(chosen, rejected), "rejected": _is_cut(rejected, chosen)}
    sides = [side for side, is_cut in cut.items() if is_cut]
    return sides[0] if len(sides) == 1 else ""


def _is_cut(text: str, other: str) -> bool:
    """Whether a text ends too early, seen beside the other one."""
    if text.count("```") % 2:
        return True
    if not text or text == other or text[-1] in ENDS or not text[-1].isascii():
        return False
    if other.startswith(text):
        return other[len(text)].isalpha() or len(text) >= SHORTEST_CUT
    line = text.rpartition("\n")[2].lstrip()
    prose = line[:1].isalpha() and ". " in text and "://" not in line.rpartition(" ")[2]
    return prose and len(line) >= SHORTEST_CUT and other[-1:] in ENDS
