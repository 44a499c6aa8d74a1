"""Pairs that say what another pair says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, le, optional

import cpt
from cpt_filters import near, texts

Text = Callable[[cpt.Pair], str]
TEXTS: Mapping[str, Text] = {
    "pairs": lambda pair: "\n".join(
        (texts.asked(pair.prompt), pair.chosen.text, pair.rejected.text)
    ),
    "prompts": lambda pair: texts.asked(pair.prompt),
    "chosen": lambda pair: pair.chosen.text,
    "rejected": lambda pair: pair.rejected.text,
}


@attrs.frozen
class Duplicates(cpt.Filter):
    """Keeps the first of several pairs that say the same.

    Texts are compared by their words, without case and punctuation. With `near`, also those whose
    word n-grams overlap so much, estimated by MinHash (Broder 1997; library: datasketch): those
    that are alike through others are one group. Pairs of one prompt are compared only as `pairs`.
    """

    name = "duplicates"
    of: Literal["pairs", "prompts", "chosen", "rejected"] = "pairs"
    """What is compared: prompt and both answers together, or one of them alone."""
    near: float | None = attrs.field(default=None, validator=optional(and_(gt(0), le(1))))
    """Jaccard similarity of word n-grams from which two texts are the same (0.8, say)."""
    n: int = attrs.field(default=3, validator=ge(1))
    """Words of an n-gram."""
    permutations: int = attrs.field(default=128, validator=and_(ge(16), le(1024)))
    """Values of a MinHash: the error of a similarity is about 1 over their square root."""

    def check(self) -> None:
        if self.near is not None:
            texts.optional("datasketch")

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        return self._equal(pairs) if self.near is None else self._alike(pairs, self.near)

    def _equal(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        owners: dict[bytes, str] = {}
        for pair in pairs:
            owner = self._owner(pair)
            first = owners.setdefault(texts.digest(self._words(pair)), owner)
            yield pair if first == owner else cpt.Drop("equal", f"{self.of} as in {first}")

    def _alike(self, pairs: Iterable[cpt.Pair], similarity: float) -> Iterator[cpt.Pair | cpt.Drop]:
        grams = (texts.ngrams(self._words(pair), self.n) for pair in pairs)
        firsts = near.firsts(grams, similarity, self.permutations)
        with_others = set(firsts[firsts != range(len(firsts))].tolist())
        owners: dict[int, str] = {}
        for place, pair in enumerate(pairs):
            owner, first = self._owner(pair), int(firsts[place])
            if place in with_others:
                owners[place] = owner
            known = owners.get(first, owner)
            yield pair if known == owner else cpt.Drop("alike", f"{self.of} as in {known}")

    def _words(self, pair: cpt.Pair) -> list[str]:
        return texts.words(TEXTS[self.of](pair))

    def _owner(self, pair: cpt.Pair) -> str:
        """Whose text it is: a prompt's, which all its pairs share, or the pair's own."""
        return pair.id if self.of == "pairs" else pair.prompt.id
