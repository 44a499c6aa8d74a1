"""Pairs of groups that are too large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from statistics import median

import attrs
from attrs.validators import and_, ge, le, optional

import cpt
from cpt_filters import texts

NONE = "none"
"""The group of pairs without a value in the column."""
SAMPLE = 20_000
"""Prompts that clusters are found from; every pair then goes to the nearest."""
AT_ONCE = 1024
"""Prompts whose clusters are found together."""


@attrs.frozen
class Balance(cpt.Filter):
    """Leaves out pairs of large groups, drawn at random, so that none outweighs the others.

    Groups are the values of a column of metadata, or clusters of prompts that use the same words
    (k-means on TF-IDF, by scikit-learn).
    """

    name = "balance"
    by: str | None = None
    """A column of the pair's or the prompt's metadata; without it, clusters of prompts."""
    most: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Pairs that a group may keep; without it as many as the group in the middle has."""
    clusters: int = attrs.field(default=10, validator=ge(2))
    """How many clusters there are."""
    seed: int = attrs.field(default=0, validator=and_(ge(0), le(2**32 - 1)))
    """Another seed leaves out other pairs."""

    def check(self) -> None:
        if self.by is None:
            texts.optional("sklearn")

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        groups = list(self._groups(pairs))
        if self.by and set(groups) == {NONE}:
            raise cpt.CptError(f"filters: balance.by: no pair has {self.by!r} in its metadata.")
        sizes = Counter(groups)
        most = self.most or int(median(sizes.values() or [0]))
        gone = _gone(groups, most, self.seed)
        for place, pair in enumerate(pairs):
            group = groups[place]
            detail = f"{group} has {sizes[group]} pairs, and keeps {most}"
            yield cpt.Drop("large_group", detail) if place in gone else pair

    def _groups(self, pairs: Iterable[cpt.Pair]) -> Iterator[str]:
        """The group of each pair, one text for all pairs of it."""
        if self.by is None:
            yield from _clustered(pairs, self.clusters, self.seed)
            return
        names: dict[str, str] = {}
        for pair in pairs:
            value = texts.noted(pair, self.by)
            name = NONE if value is None else f"{self.by} {value!r}"
            yield names.setdefault(name, name)


def _gone(groups: Sequence[str], most: int, seed: int) -> set[int]:
    """Places of the pairs to leave out: of each group all but `most`, which are drawn."""
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    draw = Random(seed)
    return {
        place
        for places in members.values()
        for place in draw.sample(places, max(0, len(places) - most))
    }


def _clustered(pairs: Iterable[cpt.Pair], clusters: int, seed: int) -> Iterator[str]:
    text = texts.optional("sklearn.feature_extraction.text")
    cluster = texts.optional("sklearn.cluster")
    sample = _sample((texts.asked(pair.prompt) for pair in pairs), SAMPLE, Random(seed))
    if not sample:
        return
    vectors = text.TfidfVectorizer(max_features=20_000, sublinear_tf=True, token_pattern=r"\w+")
    try:
        fitted = vectors.fit_transform(sample)
    except ValueError:  # no prompt has a word
        yield from ("cluster 0" for _ in pairs)
        return
    count = min(clusters, len(set(sample)))
    means = cluster.MiniBatchKMeans(count, random_state=seed, n_init=3).fit(fitted)
    names = [f"cluster {number}" for number in range(count)]
    asked = (texts.asked(pair.prompt) for pair in pairs)
    while some := list(islice(asked, AT_ONCE)):
        yield from (names[number] for number in means.predict(vectors.transform(some)))


def _sample(found: Iterable[str], size: int, draw: Random) -> list[str]:
    """So many of these, each as likely as any other (reservoir sampling)."""
    kept: list[str] = []
    for number, each in enumerate(found):
        if number < size:
            kept.append(each)
        elif (place := draw.randrange(number + 1)) < size:
            kept[place] = each
    return kept
