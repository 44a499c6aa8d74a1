"""The SFT curricula of arXiv 2310.02263: a weaker author's answers first, then a stronger one's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from random import Random

import attrs

import cpt
from cpt_curriculum.batches import cut, shuffled


@attrs.frozen
class WeakToStrong(cpt.Scheduler):
    """One chosen answer of every prompt an epoch: weak authors' at first, strong ones' ever more.

    Each example has a strong target with probability alpha, which grows linearly from 0 at the
    first step to 1 at the last: the SFT curricula of arXiv 2310.02263, for `sft` on pairs of a
    ladder. Who is stronger is read from the pairs: an author is above those that it is preferred
    to. A prompt without a target of the author drawn gives one of the nearest.
    """

    name = "weak_to_strong"
    reverse: bool = False
    """From strong to weak targets instead."""

    def batches(
        self, pairs: Sequence[cpt.Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        if not pairs:
            return
        ranks = _ranks(pairs)
        weak, strong = min(ranks.values()), max(ranks.values())
        prompts = _targets(pairs, ranks)
        per_epoch = -(-len(prompts) // size)
        last = max(1, epochs * per_epoch - 1)
        draw = Random(seed)
        for epoch in range(epochs):
            order = shuffled(range(len(prompts)), draw)
            for step, batch in enumerate(cut(order, size), start=epoch * per_epoch):
                alpha = 1 - step / last if self.reverse else step / last
                drawn = [strong if draw.random() < alpha else weak for _ in batch]
                yield [
                    _nearest(prompts[prompt], rank, draw)
                    for prompt, rank in zip(batch, drawn, strict=True)
                ]


def _ranks(pairs: Sequence[cpt.Pair]) -> dict[str, int]:
    """The rank of each author of a chosen answer, 0 for the weakest. Raises `CptError`."""
    beaten: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        if pair.label is None and pair.chosen.author != pair.rejected.author:
            beaten[pair.chosen.author].add(pair.rejected.author)
        else:
            beaten[pair.chosen.author] |= set()
    both_ways = [
        (one, other) for one in beaten for other in beaten[one] if one in beaten.get(other, ())
    ]
    if both_ways:
        one, other = both_ways[0]
        raise cpt.CptError(
            f"scheduler: {one!r} and {other!r} are each preferred to the other in some pairs, so "
            "neither is the stronger; take pairs of a ladder, or `sorted` by chosen_score."
        )
    if len(beaten) < 2:
        raise cpt.CptError(
            f"scheduler: all chosen answers are by {next(iter(beaten))!r}; weak and strong targets "
            "need two authors, as pairs of a ladder of three have."
        )
    counts = sorted({len(others) for others in beaten.values()})
    return {author: counts.index(len(others)) for author, others in beaten.items()}


def _targets(pairs: Sequence[cpt.Pair], ranks: Mapping[str, int]) -> list[dict[int, list[int]]]:
    """For each prompt its pairs by the rank of the chosen answer's author."""
    found: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, pair in enumerate(pairs):
        found[pair.prompt.id][ranks[pair.chosen.author]].append(index)
    return list(found.values())


def _nearest(by_rank: Mapping[int, Sequence[int]], rank: int, draw: Random) -> int:
    distance = min(abs(one - rank) for one in by_rank)
    near = [index for one in by_rank if abs(one - rank) == distance for index in by_rank[one]]
    return draw.choice(near)
