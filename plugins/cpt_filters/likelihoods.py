"""Log-probabilities of pairs that come one by one, under several models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import cpt

Known = cpt.PairLogps | cpt.Missing


def logps_of(
    pairs: Iterable[cpt.Pair], models: Sequence[str], at_once: int
) -> Iterator[list[Known]]:
    """Those of each pair, one for each model; the models are loaded for every `at_once` pairs."""
    from cpt.likelihood import log_probabilities

    stream = iter(pairs)
    while some := list(islice(stream, at_once)):
        found = [log_probabilities(some, model) for model in models]
        names = [pair.id for pair in some]
        del some  # before the values go out, one by one
        for name in names:
            yield [logps[name] for logps in found]


def gap_of(policy: Known, reference: Known | None = None) -> float | cpt.Missing:
    """The log-ratio of the chosen answer less that of the rejected, in nats; `Missing` if one is.

    Without a reference, of the log-probabilities themselves.
    """
    for known in (policy, reference):
        if isinstance(known, cpt.Missing):
            return known
    assert isinstance(policy, cpt.PairLogps)
    if not isinstance(reference, cpt.PairLogps):
        return policy.chosen - policy.rejected
    return (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)
