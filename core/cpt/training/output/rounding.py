"""The number format of the model that is written, and what of the training is lost in it.

The steps of a training are often smaller than the spacing of bfloat16 numbers: a weight that moved
by less than half of it rounds to where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from cpt.training.options import Training

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_LOST = 0.05
"""Share of the learned change that `auto` gives up for a model of half the size: less than what
another seed changes."""


@attrs.frozen
class WeightFormat:
    """How the weights are stored, and what is left of the training in the smaller format."""

    dtype: str
    """Of the weights that are written: `float32`, say."""
    rounded_to: str = ""
    """The format that `kept` and `moved` are about; empty if no weight is rounded."""
    kept: float = 1.0
    """Share of the learned change that is left after rounding, along its own direction."""
    moved: float = 1.0
    """Share of the weights that training changed which differ after rounding."""

    @property
    def sentence(self) -> str:
        """For people, with the figures."""
        if not self.rounded_to:
            return f"Stored in {self.dtype}; nothing is lost by rounding."
        left = (
            f"{self.rounded_to} keeps {self.kept:.0%} of the learned change "
            f"({self.moved:.0%} of the weights that changed)"
        )
        if self.dtype == self.rounded_to:
            return f"Stored in {self.dtype}: {left}; train.export_dtype fp32 keeps all."
        return (
            f"Stored in {self.dtype}, not in the base's format, so the files are larger: {left}; "
            "train.export_dtype base overrides this."
        )

    def plain(self) -> dict[str, Any]:
        """For a summary."""
        figures = {"kept": round(self.kept, 4), "moved": round(self.moved, 4)}
        return {"dtype": self.dtype} | (
            {"rounded_to": self.rounded_to, **figures} if self.rounded_to else {}
        )


def may_round(options: Training, base: torch.dtype) -> bool:
    """Whether weights may be written in less than the fp32 that they are trained in."""
    return FORMATS.get(options.export_dtype, base).itemsize < torch.float32.itemsize


def weight_format(
    options: Training, base: torch.dtype, start: Mapping[str, Tensor], trained: Mapping[str, Tensor]
) -> WeightFormat:
    """The format to write, and what rounding to it does, or to the base's where that loses much.

    `start` and `trained` are weights by name; names that only one of them has are left out.
    """
    wanted = FORMATS.get(options.export_dtype, base)
    kept, moved = survival(start, trained, wanted)
    loses = options.export_dtype == "auto" and abs(1 - kept) > MOST_LOST
    return WeightFormat(
        _name(torch.float32 if loses else wanted),
        rounded_to=_name(wanted),
        kept=kept,
        moved=moved,
    )


@torch.no_grad()
def survival(
    start: Mapping[str, Tensor], trained: Mapping[str, Tensor], dtype: torch.dtype
) -> tuple[float, float]:
    """`kept` and `moved` of `WeightFormat` for weights that are rounded to `dtype`.

    With d the learned change and r the change between the rounded weights, `kept` is r·d / d·d:
    to first order, the share of what the change does to any log-probability it was made for.
    """
    along = length = moved = changed = 0.0
    for name in trained.keys() & start.keys():
        after, before = trained[name].float().cpu(), start[name].float().cpu()
        change = after - before
        rounded = after.to(dtype).float() - before.to(dtype).float()
        along += float((rounded * change).sum(dtype=torch.float64))
        length += float(change.square().sum(dtype=torch.float64))
        moved += int(rounded.count_nonzero())
        changed += int(change.count_nonzero())
    return (along / length, moved / changed) if changed else (1.0, 1.0)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
