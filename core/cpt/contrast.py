"""How far apart the two sides of a pair are: measures of texts, for a pair and for a set.

Jaccard and Levenshtein are those of arXiv 2408.06266, section 2 (contrastiveness): a set whose
sides share more is more contrastive. The raw distance grows with length; read the normalised one
beside it.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from math import log, sqrt
from typing import Any, Literal

import attrs

Tokens = Literal["word", "lower", "whitespace", "character"]
"""What a text is taken as: words and single marks, the same in lower case, what is between
blanks, or characters (code points)."""
WORD = re.compile(r"\w+|[^\w\s]")
MOST_SOURCES = 100
"""Sources that are counted one by one; pairs of further ones are counted as `OTHER`."""
OTHER = "(others)"

_SPLIT: Mapping[Tokens, Callable[[str], Sequence[str]]] = {
    "word": WORD.findall,
    "lower": lambda text: WORD.findall(text.lower()),
    "whitespace": str.split,
    "character": lambda text: text,
}


def tokens_of(text: str, tokens: Tokens = "word") -> Sequence[str]:
    """A text as a sequence of tokens."""
    return _SPLIT[tokens](text)


def jaccard(chosen: str, rejected: str, tokens: Tokens = "word") -> float:
    """|A & B| / |A | B| of the sets of tokens, from 0 to 1; 1 if both are empty."""
    better, worse = set(tokens_of(chosen, tokens)), set(tokens_of(rejected, tokens))
    shared = len(better & worse)
    union = len(better) + len(worse) - shared
    return shared / union if union else 1.0


def levenshtein(chosen: str, rejected: str, tokens: Tokens = "character") -> int:
    """Insertions, deletions and replacements of tokens that make one text of the other."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(tokens_of(chosen, tokens), tokens_of(rejected, tokens))


def levenshtein_normalised(chosen: str, rejected: str, tokens: Tokens = "character") -> float:
    """`levenshtein` by the number of tokens in the longer text, from 0 to 1."""
    longest = max(len(tokens_of(text, tokens)) for text in (chosen, rejected))
    return levenshtein(chosen, rejected, tokens) / longest if longest else 0.0


def length_ratio(chosen: str, rejected: str) -> float | None:
    """Characters of the chosen text by those of the rejected one; None if that is empty."""
    return len(chosen) / len(rejected) if rejected else None


def length_auc(chosen: Sequence[int], rejected: Sequence[int]) -> float | None:
    """How well length alone tells chosen answers from rejected ones: the area under the ROC curve.

    The probability that any chosen answer is longer than any rejected one, of whatever prompt; ties
    count half. 0.5: length says nothing; 1: every chosen answer is longer. None without answers.
    """
    import numpy as np

    better, worse = np.sort(np.asarray(chosen)), np.sort(np.asarray(rejected))
    if not len(better) or not len(worse):
        return None
    shorter = np.searchsorted(worse, better, "left").sum(dtype=np.float64)
    not_longer = np.searchsorted(worse, better, "right").sum(dtype=np.float64)
    return float((shorter + not_longer) / 2 / len(better) / len(worse))


@attrs.frozen
class Contrast:
    """The measures of one pair."""

    jaccard: float
    levenshtein: int
    levenshtein_normalised: float
    length_ratio: float | None
    """Chosen by rejected, in characters; None if the rejected side is empty."""


def contrast(
    chosen: str,
    rejected: str,
    *,
    jaccard_of: Tokens = "word",
    levenshtein_of: Tokens = "character",
) -> Contrast:
    """All measures of one pair."""
    from rapidfuzz.distance import Levenshtein

    better, worse = (tokens_of(text, levenshtein_of) for text in (chosen, rejected))
    distance = Levenshtein.distance(better, worse)
    return Contrast(
        jaccard=jaccard(chosen, rejected, jaccard_of),
        levenshtein=distance,
        levenshtein_normalised=distance / (max(len(better), len(worse)) or 1),
        length_ratio=length_ratio(chosen, rejected),
    )


@attrs.define(eq=False)
class _Sums:
    """Sums over pairs, and the length of every side: 8 bytes a pair."""

    jaccard: float = 0.0
    levenshtein: float = 0.0
    normalised: float = 0.0
    ratio: float = 0.0
    ratios: int = 0
    logs: float = 0.0
    squares: float = 0.0
    chosen: array[int] = attrs.field(factory=lambda: array("I"))
    rejected: array[int] = attrs.field(factory=lambda: array("I"))

    def add(self, chosen: str, rejected: str, found: Contrast) -> None:
        self.jaccard += found.jaccard
        self.levenshtein += found.levenshtein
        self.normalised += found.levenshtein_normalised
        self.chosen.append(len(chosen))
        self.rejected.append(len(rejected))
        if found.length_ratio:
            self.ratio += found.length_ratio
            self.ratios += 1
            self.logs += log(found.length_ratio)
            self.squares += log(found.length_ratio) ** 2

    def merge(self, later: _Sums) -> None:
        self.jaccard += later.jaccard
        self.levenshtein += later.levenshtein
        self.normalised += later.normalised
        self.ratio += later.ratio
        self.ratios += later.ratios
        self.logs += later.logs
        self.squares += later.squares
        self.chosen.extend(later.chosen)
        self.rejected.extend(later.rejected)

    @property
    def longer(self) -> int:
        """Pairs whose chosen side is longer."""
        pairs = zip(self.chosen, self.rejected, strict=True)
        return sum(better > worse for better, worse in pairs)

    @property
    def shorter(self) -> int:
        """Pairs whose chosen side is shorter."""
        pairs = zip(self.chosen, self.rejected, strict=True)
        return sum(better < worse for better, worse in pairs)

    def effect(self) -> float | None:
        """The mean of the logarithm of the length ratio, in standard deviations of it."""
        mean = self.logs / self.ratios if self.ratios else 0.0
        spread = self.squares / self.ratios - mean**2 if self.ratios else 0.0
        return mean / sqrt(spread) if spread > 1e-12 else None

    def plain(self) -> dict[str, Any]:
        pairs = len(self.chosen)
        longer, shorter = self.longer, self.shorter
        return {
            "pairs": pairs,
            "jaccard": _mean(self.jaccard, pairs),
            "levenshtein": _mean(self.levenshtein, pairs),
            "levenshtein_normalised": _mean(self.normalised, pairs),
            "length_ratio": _mean(self.ratio, self.ratios),
            "longer_is_chosen": _mean(longer, pairs),
            "length_auc": length_auc(self.chosen, self.rejected),
            "length_effect": self.effect(),
            "length_surplus": _mean(abs(longer - shorter), pairs),
        }


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


@attrs.define(eq=False, kw_only=True)
class ContrastOfSet:
    """The measures of a set of pairs that come one by one, and of each source in it.

    `plain()` gives means of the measures of `Contrast`, and what length alone says of the label:
    `longer_is_chosen` (a share), `length_auc`, `length_effect` (Cohen's d of the paired logarithms
    of length: 0.2 is small, 0.8 large) and `length_surplus` (the share of pairs that would have to
    go until as many chosen sides are longer as are shorter).
    """

    jaccard_of: Tokens = "word"
    levenshtein_of: Tokens = "character"
    _all: _Sums = attrs.field(factory=_Sums, init=False)
    _by_source: dict[str, _Sums] = attrs.field(factory=dict, init=False)

    def add(self, chosen: str, rejected: str, source: str = "") -> Contrast:
        """Measure one pair and count it."""
        found = contrast(
            chosen, rejected, jaccard_of=self.jaccard_of, levenshtein_of=self.levenshtein_of
        )
        self._all.add(chosen, rejected, found)
        self._of(source).add(chosen, rejected, found)
        return found

    def another(self) -> ContrastOfSet:
        """One that measures the same and has seen nothing yet."""
        return ContrastOfSet(jaccard_of=self.jaccard_of, levenshtein_of=self.levenshtein_of)

    def merge(self, later: ContrastOfSet) -> None:
        """Count the pairs of another set, which come after these."""
        self._all.merge(later._all)
        for source, sums in later._by_source.items():
            self._of(source).merge(sums)

    def _of(self, source: str) -> _Sums:
        known = source in self._by_source or len(self._by_source) < MOST_SOURCES
        return self._by_source.setdefault(source if known else OTHER, _Sums())

    def plain(self) -> dict[str, Any]:
        """The means over all pairs, and under `by_source` those of each source."""
        by_source = {name: sums.plain() for name, sums in sorted(self._by_source.items())}
        return {**self._all.plain(), "by_source": by_source}
