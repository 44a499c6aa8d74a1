"""Answers that repeat themselves."""

from collections.abc import Iterable, Iterator

import attrs
from attrs.validators import ge, gt

import cpt


@attrs.frozen
class NoLoops(cpt.Filter):
    """Leaves out pairs whose chosen answer repeats itself."""

    name = "no_loops"
    words: int = attrs.field(default=4, validator=gt(0))
    """How many words in a row are one phrase."""
    times: int = attrs.field(default=3, validator=ge(2))
    """An answer with the same phrase this often is a loop."""

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        """Look at one pair after the other."""
        for pair in pairs:
            phrase = self._loop(pair.chosen.text)
            yield cpt.Drop("loop", f"{self.times} times {phrase!r}") if phrase else pair

    def _loop(self, text: str) -> str:
        """The first phrase that is there too often, or no text."""
        said = text.split()
        seen: dict[str, int] = {}
        for at in range(len(said) - self.words + 1):
            phrase = " ".join(said[at : at + self.words])
            seen[phrase] = seen.get(phrase, 0) + 1
            if seen[phrase] == self.times:
                return phrase
        return ""
