"""How hard pairs are, as curricula read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import exp, inf, log, log1p, nan
from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs.validators import ge, gt

import cpt
from cpt_filters import texts
from cpt_filters.likelihoods import gap_of, logps_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

By = Literal[
    "jaccard",
    "levenshtein",
    "length_ratio",
    "score_gap",
    "tier",
    "margin",
    "column",
    "reference_gap",
    "reward_gap",
    "loss",
]
Measure = Callable[[cpt.Pair], float | None]
WITH_CHECKPOINT = ("reward_gap", "loss")


@attrs.frozen
class Difficulty(cpt.Filter):
    """Drops nothing: says how hard each pair is, in the tier and margin that schedulers read.

    A measure gives every pair a number, the larger the easier. It becomes the margin, and the tier
    from 1 (hardest) to `tiers` (easiest), of about as many pairs each. What the pair had before is
    kept in its info, as `given_tier` and `given_margin`, and the number under the measure's name.
    A pair that the measure says nothing of is dropped.

    `jaccard` and `levenshtein`: the share of words, or of characters, that the sides do not share
    (arXiv 2408.06266, section 2). `length_ratio`: |log| of the ratio of lengths. `score_gap`: the
    chosen score less the rejected one. `reference_gap`: log π_ref(y_w) - log π_ref(y_l).
    `reward_gap`: beta · [log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l)] under a checkpoint. `loss`:
    DPO's, the negative logarithm of the sigmoid of that; of a checkpoint that never saw the pair it
    is the held-out loss of Selective DPO (arXiv 2502.09650). The margin is then the negative of it.
    """

    name = "difficulty"
    by: By = "jaccard"
    """The measure; `column` is a number in the info of the pairs."""
    column: str = ""
    """With `by: column`, its name."""
    model: str = attrs.field(default="", metadata=cpt.PATH)
    """With `reward_gap` and `loss`, the checkpoint: a folder, or a hub id."""
    reference: str = attrs.field(default="", metadata=cpt.PATH)
    """With `reference_gap`, `reward_gap` and `loss`, the reference model."""
    tiers: int = attrs.field(default=4, validator=ge(2))
    """How many tiers there are."""
    reverse: bool = False
    """Take the largest numbers for the hardest pairs."""
    beta: float = attrs.field(default=0.1, validator=gt(0))
    """What a log-ratio is multiplied by."""
    at_once: int = attrs.field(default=2048, validator=ge(1), metadata=cpt.NOT_IDENTITY)
    """Pairs that are in memory together; models are loaded for each such part."""

    def check(self) -> None:
        from cpt.models import folder_of

        needed = {
            "column": self.by == "column",
            "model": self.by in WITH_CHECKPOINT,
            "reference": self.by in ("reference_gap", *WITH_CHECKPOINT),
        }
        for option, is_needed in needed.items():
            if is_needed and not getattr(self, option):
                raise cpt.CptError(f"filters: difficulty by {self.by}: give {option} as well.")
        for model in self._models():
            folder_of(model)

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        import numpy as np

        missing: dict[int, cpt.Drop] = {}
        found = np.fromiter(self._numbers(pairs, missing), dtype=float)
        ease = -found if self.reverse != (self.by == "loss") else found
        tiers = _tiers(ease, self.tiers)
        for place, pair in enumerate(pairs):
            if place in missing:
                yield missing[place]
            else:
                known = (float(found[place]), float(ease[place]), int(tiers[place]))
                yield self._told(pair, *known)

    def _told(self, pair: cpt.Pair, number: float, ease: float, tier: int) -> cpt.Pair:
        before = {"given_tier": pair.tier or None, "given_margin": pair.margin}
        given = {name: value for name, value in before.items() if value is not None}
        info = {**pair.info, **given, self.column or self.by: number}
        return attrs.evolve(pair, margin=ease, tier=tier, info=info)

    def _numbers(self, pairs: Iterable[cpt.Pair], missing: dict[int, cpt.Drop]) -> Iterator[float]:
        """The number of each pair; NaN for one without, which goes to `missing`."""
        measured = self._under_models(pairs) if self._models() else map(self._of_texts, pairs)
        for place, number in enumerate(measured):
            if isinstance(number, cpt.Missing):
                missing[place] = cpt.Drop(number.reason, number.detail)
            yield nan if isinstance(number, cpt.Missing) else number

    def _models(self) -> list[str]:
        both = (self.model, self.reference) if self.by in WITH_CHECKPOINT else ()
        return [*both, *([self.reference] if self.by == "reference_gap" else [])]

    def _under_models(self, pairs: Iterable[cpt.Pair]) -> Iterator[float | cpt.Missing]:
        for logps in logps_of(pairs, self._models(), self.at_once):
            gap = gap_of(*logps)
            if isinstance(gap, cpt.Missing) or self.by == "reference_gap":
                yield gap
            else:
                yield _loss(self.beta * gap) if self.by == "loss" else self.beta * gap

    def _of_texts(self, pair: cpt.Pair) -> float | cpt.Missing:
        if pair.label is not None:
            return cpt.Missing("one_answer", "there is no other answer to compare it with")
        by_column = self.by == "column"
        number = texts.noted(pair, self.column) if by_column else MEASURES[self.by](pair)
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < inf:
            what = self.column or self.by
            return cpt.Missing(f"no_{self.by}", f"the pair has no number for {what}")
        return number


def _apart(pair: cpt.Pair) -> float:
    from cpt.contrast import jaccard

    return 1 - jaccard(pair.chosen.text, pair.rejected.text)


def _edited(pair: cpt.Pair) -> float:
    from cpt.contrast import levenshtein_normalised

    return levenshtein_normalised(pair.chosen.text, pair.rejected.text)


def _length_ratio(pair: cpt.Pair) -> float | None:
    chosen, rejected = len(pair.chosen.text), len(pair.rejected.text)
    return abs(log(chosen / rejected)) if chosen and rejected else None


def _score_gap(pair: cpt.Pair) -> float | None:
    if pair.chosen_score is None or pair.rejected_score is None:
        return None
    return pair.chosen_score - pair.rejected_score


MEASURES: Mapping[str, Measure] = {
    "jaccard": _apart,
    "levenshtein": _edited,
    "length_ratio": _length_ratio,
    "score_gap": _score_gap,
    "tier": lambda pair: pair.tier or None,  # 0 is unknown
    "margin": lambda pair: pair.margin,
}


def _loss(gap: float) -> float:
    """-log sigmoid(gap), without overflow."""
    return log1p(exp(-abs(gap))) + max(-gap, 0.0)


def _tiers(ease: NDArray[Any], tiers: int) -> NDArray[Any]:
    """The tier of each number, equal ones in one; NaN in any."""
    import numpy as np

    known = np.sort(ease[~np.isnan(ease)])
    if not len(known):
        return np.ones(len(ease), dtype=int)
    cuts = known[[len(known) * tier // tiers for tier in range(1, tiers)]]
    found: NDArray[Any] = 1 + np.searchsorted(cuts, np.nan_to_num(ease), side="right")
    return found
