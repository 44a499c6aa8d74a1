"""Pairs that overlap with what a model will be measured on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import attrs
from attrs.validators import and_, ge, le, min_len

import cpt
from cpt_filters import texts


@attrs.frozen
class Decontaminate(cpt.Filter):
    """Leaves out pairs that share n-grams of words with a prompt of an evaluation set.

    A pair goes if it holds at least `share` of the n-grams of one of those prompts (Tulu 3, arXiv
    2411.15124, takes 8-grams and a half; GPT-3, arXiv 2005.14165, any one 13-gram). A prompt of
    fewer words than `n` counts as one n-gram: only an equal text holds it.
    """

    name = "decontaminate"
    against: tuple[str, ...] = attrs.field(validator=min_len(1), metadata=cpt.PATH)
    """Prompts that models are measured on: a file, a folder or a hub id; repeat it for several."""
    n: int = attrs.field(default=8, validator=ge(1))
    """Words of an n-gram."""
    share: float = attrs.field(default=0.5, validator=and_(ge(0), le(1)))
    """Share of an evaluation prompt's n-grams that is too much; 0 is any one."""
    answers: bool = False
    """Look for them in both answers too, not in the prompt alone."""

    def check(self) -> None:
        from cpt.data import read_prompts

        for source in self.against:
            next(iter(read_prompts(source)), None)

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        index = Index.of(self.against, self.n)
        for pair in pairs:
            yield self._drop(pair, index) or pair

    def _drop(self, pair: cpt.Pair, index: Index) -> cpt.Drop | None:
        answers = {"chosen": pair.chosen.text, "rejected": pair.rejected.text}
        asked = {"prompt": texts.asked(pair.prompt)}
        for where, text in (asked | (answers if self.answers else {})).items():
            name, share = index.closest(text)
            if share and share >= self.share:
                return cpt.Drop(where, f"{share:.0%} of the {self.n}-grams of {name}")
        return None


@attrs.frozen
class Index:
    """The n-grams of evaluation prompts, and which prompt each is from."""

    n: int
    names: list[str] = attrs.field(factory=list)
    sizes: list[int] = attrs.field(factory=list)
    """Different n-grams of each prompt."""
    holders: dict[bytes, list[int]] = attrs.field(factory=dict)
    """Places in `names` of the prompts that have an n-gram."""

    @classmethod
    def of(cls, sources: Sequence[str], n: int) -> Index:
        """Of the prompts of all sources. Raises `CptError` for one that cannot be read."""
        from cpt.data import read_prompts

        index = cls(n)
        for source in sources:
            for prompt in read_prompts(source):
                index.add(f"{source}, prompt {prompt.id!r}", texts.asked(prompt))
        return index

    def add(self, name: str, text: str) -> None:
        """Take in one prompt, under the name that a reason tells."""
        grams = set(texts.ngrams(texts.words(text), self.n))
        for gram in grams:
            self.holders.setdefault(gram, []).append(len(self.names))
        self.names.append(name)
        self.sizes.append(len(grams))

    def closest(self, text: str) -> tuple[str, float]:
        """The prompt of whose n-grams a text holds the largest share, and that share."""
        found: Counter[int] = Counter()
        for gram in set(texts.ngrams(texts.words(text), self.n)):
            found.update(self.holders.get(gram, ()))
        if not found:
            return "", 0.0
        best = max(found, key=lambda place: (found[place] / self.sizes[place], -place))
        return self.names[best], found[best] / self.sizes[best]
