"""Pairs that a model still has to learn, or knows already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from math import nan
from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs.validators import and_, ge, gt, le

import cpt

if TYPE_CHECKING:
    from numpy.typing import NDArray


@attrs.frozen
class Active(cpt.Filter):
    """Keeps the pairs with the smallest, or the largest, gap of implicit rewards.

    The gap of a pair under a model and its reference is
    beta · [log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l)] (DPO, arXiv 2305.18290): small where the
    model is wrong or unsure. arXiv 2508.04149 keeps the tenth with the smallest.
    """

    name = "active"
    model: str = attrs.field(metadata=cpt.PATH)
    """The checkpoint: a folder, or a hub id."""
    reference: str = attrs.field(metadata=cpt.PATH)
    """The model that it was trained from."""
    keep: Literal["smallest", "largest"] = "smallest"
    """Which gaps stay."""
    share: float = attrs.field(default=0.5, validator=and_(gt(0), le(1)))
    """Share of the pairs that stay."""
    beta: float = attrs.field(default=0.1, validator=gt(0))
    """What a log-ratio is multiplied by, in the details alone: the order is the same with any."""
    at_once: int = attrs.field(default=2048, validator=ge(1), metadata=cpt.NOT_IDENTITY)
    """Pairs that are in memory together; the models are loaded for each such part."""

    def check(self) -> None:
        from cpt.models import folder_of

        for model in (self.model, self.reference):
            folder_of(model)

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        import numpy as np

        missing: dict[int, cpt.Missing] = {}
        gaps = np.fromiter(self._gaps(pairs, missing), dtype=float)
        stays = _stays(gaps, self.share, largest=self.keep == "largest")
        for place, pair in enumerate(pairs):
            if place in missing:
                yield cpt.Drop(missing[place].reason, missing[place].detail)
            else:
                detail = f"the gap is {gaps[place]:.4g}"
                yield pair if stays[place] else cpt.Drop(f"not_{self.keep}", detail)

    def _gaps(self, pairs: Iterable[cpt.Pair], missing: dict[int, cpt.Missing]) -> Iterator[float]:
        """The gap of each pair; NaN for one that training would drop, which goes to `missing`."""
        from cpt.likelihood import log_probabilities

        stream, place = iter(pairs), 0
        while some := list(islice(stream, self.at_once)):
            policy, reference = (
                log_probabilities(some, model) for model in (self.model, self.reference)
            )
            names = [pair.id for pair in some]
            del some  # before the values go out, one by one
            for name in names:
                gap = _gap(policy[name], reference[name])
                if isinstance(gap, cpt.Missing):
                    missing[place] = gap
                yield nan if isinstance(gap, cpt.Missing) else self.beta * gap
                place += 1


def _gap(policy: cpt.PairLogps | cpt.Missing, reference: cpt.PairLogps | cpt.Missing) -> Any:
    """The log-ratio of the chosen answer less that of the rejected; `Missing` if one is."""
    if isinstance(policy, cpt.Missing) or isinstance(reference, cpt.Missing):
        return policy if isinstance(policy, cpt.Missing) else reference
    ratios = (policy.chosen - reference.chosen, policy.rejected - reference.rejected)
    return ratios[0] - ratios[1]


def _stays(gaps: NDArray[Any], share: float, *, largest: bool) -> NDArray[Any]:
    """Whether each pair stays; of equal gaps the first. NaN is never one of them."""
    import numpy as np

    known = np.flatnonzero(~np.isnan(gaps))
    order = known[np.argsort(-gaps[known] if largest else gaps[known], kind="stable")]
    stays = np.zeros(len(gaps), dtype=bool)
    stays[order[: max(1, round(share * len(order)))]] = True
    return stays
