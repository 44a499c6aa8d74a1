"""One domain after the other."""

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from random import Random

import attrs

import cpt


@attrs.frozen
class Domains(cpt.Scheduler):
    """Takes the domains of the prompts in turn, each in random order."""

    name = "domains"
    key: str = "domain"
    """Where the domain is in the info of a prompt; prompts without one are one domain more."""

    def batches(
        self, pairs: Sequence[cpt.Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        """Yield batches in which every domain is there as long as it has pairs left."""
        draw = Random(seed)
        for _ in range(epochs):
            order = self._order(pairs, draw)
            yield from (order[at : at + size] for at in range(0, len(order), size))

    def _order(self, pairs: Sequence[cpt.Pair], draw: Random) -> list[int]:
        domains: dict[str, list[int]] = {}
        for place, pair in enumerate(pairs):
            domains.setdefault(str(pair.prompt.info.get(self.key, "")), []).append(place)
        for places in domains.values():
            draw.shuffle(places)
        turns = zip_longest(*domains.values())
        return [place for place in chain.from_iterable(turns) if place is not None]
