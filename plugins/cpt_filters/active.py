"""Pairs that a model still has to learn, or knows already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import nan
from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs.validators import and_, ge, gt, le

import cpt
from cpt_filters.likelihoods import gap_of, logps_of

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
        both = logps_of(pairs, (self.model, self.reference), self.at_once)
        for place, (policy, reference) in enumerate(both):
            gap = gap_of(policy, reference)
            if isinstance(gap, cpt.Missing):
                missing[place] = gap
            yield nan if isinstance(gap, cpt.Missing) else self.beta * gap


def _stays(gaps: NDArray[Any], share: float, *, largest: bool) -> NDArray[Any]:
    """Whether each pair stays; of equal gaps the first. NaN is never one of them."""
    import numpy as np

    known = np.flatnonzero(~np.isnan(gaps))
    order = known[np.argsort(-gaps[known] if largest else gaps[known], kind="stable")]
    stays = np.zeros(len(gaps), dtype=bool)
    stays[order[: max(1, round(share * len(order)))]] = True
    return stays
