"""A weighted sum of losses, such as DPO with a share of SFT (RPO), is a loss as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs

from cpt.roles.loss import Loss
from cpt.types import Batch, Logps

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class WeightedSum(Loss):
    """The base of sums: a field for each loss, named by `weights`, which holds its options."""

    weights: ClassVar[Mapping[str, float]] = {}
    """What each loss is multiplied by, by the name of its field."""

    @property
    def parts(self) -> dict[str, Loss]:
        """The losses, by the name of their field."""
        return {field: getattr(self, field) for field in self.weights}

    def __call__(self, batch: Batch) -> Tensor:
        return sum(
            (self.weights[field] * value for field, value in self._values(batch).items()),
            start=batch.chosen.policy.new_zeros(()),
        )

    def metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """`NAME/loss` of every part, without its weight, and what it logs itself."""
        found = {f"{field}/loss": value for field, value in self._values(batch).items()}
        for field, part in self.parts.items():
            own = part.metrics(_for_part(batch, field))
            found |= {f"{field}/{name}": value for name, value in own.items()}
        return found

    def carry(self, before: Mapping[str, float], means: Mapping[str, float]) -> Mapping[str, float]:
        return {
            f"{field}/{name}": value
            for field, part in self.parts.items()
            for name, value in part.carry(_under(field, before), _under(field, means)).items()
        }

    def reward(self, side: Logps) -> Tensor:
        """That of the part that compares with most, the first of several."""
        return max(self.parts.values(), key=lambda part: len(part.needs)).reward(side)

    def _values(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of every part. A part for pairs skips an answer that is only bad."""
        values = {}
        for field, part in self.parts.items():
            value = part(_for_part(batch, field))
            values[field] = value if part.unpaired else value * batch.chosen.present
        return values


def _for_part(batch: Batch, field: str) -> Batch:
    return attrs.evolve(batch, carried=_under(field, batch.carried))


def _under(field: str, values: Mapping[str, float]) -> dict[str, float]:
    prefix = f"{field}/"
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
