"""Numbers and texts as the report writes them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

from cpt.secrets import scrub
from cpt.types import Score

LONGEST_NAME = 24
"""Letters of a name in a plot."""
MINUS = "\u2212"
DASH = "\u2013"
NO_BREAK_SPACE = "\u00a0"
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufffe\uffff]"
)
"""What HTML forbids, and what turns the reading direction."""


def printable(text: str) -> str:
    """The text without this environment's secrets; what no reader sees is shown by its code."""
    lines = scrub(text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", lines)


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name on one line, cut where it is long, without characters that change the direction."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    line = " ".join(printable(seen).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def signed(value: float, decimals: int, sign: bool = False) -> str:
    """A number with so many decimals and a typographic minus."""
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if sign else ''},.{decimals}f}".replace("-", MINUS)


def with_interval(score: Score, decimals: int, sign: bool = False) -> str:
    """`0.824 ± 0.014`, or both ends where the value is not in the middle of them.

    Where not all are measured, also over how many: `(9 of 12 prompts)`.
    """
    measured = f" ({score.n:,} of {counted(score.of, one_of(score.unit))})" if score.missing else ""
    return f"{at_a_glance(score, decimals, sign)}{measured}"


def one_of(unit: str) -> str:
    """`prompt` of `prompts`."""
    return unit.removesuffix("s")


def at_a_glance(score: Score, decimals: int, sign: bool = False) -> str:
    """The same without over how many it is."""
    value = signed(score.value, decimals, sign)
    if not (math.isfinite(score.low) and math.isfinite(score.high)):
        return f"{value} (no interval)"
    below, above = score.value - score.low, score.high - score.value
    if abs(below - above) < 10**-decimals:
        return f"{value} ±{NO_BREAK_SPACE}{signed((below + above) / 2, decimals)}"
    return f"{value} ({signed(score.low, decimals)} to {signed(score.high, decimals)})"


def digits(value: float, count: int = 4) -> str:
    """A number with so many significant digits, and commas between thousands."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value and not 1e-4 <= abs(value) < 10**15:
        return f"{value:.{count - 1}e}".replace("-", MINUS)
    size = math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:,.{max(count - 1 - size, 0)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", MINUS)


def share(part: float, whole: float) -> str:
    """`12%`, with a decimal where it is small; nothing of nothing is a dash."""
    if not whole:
        return DASH
    percent = 100 * part / whole
    return f"{percent:.1f}%" if 0 < percent < 10 or 99 < percent < 100 else f"{percent:.0f}%"


def dollars(value: float) -> str:
    """Money to the hundredth of a cent."""
    return f"${value:,.4f}"


def duration(seconds: float) -> str:
    """`3 h 07 min`, `2 min 05 s` or `1.8 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 60:
        return f"{seconds:.1f} s"
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def counted(number: float, noun: str) -> str:
    """`1 pair`, `2,000 pairs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
