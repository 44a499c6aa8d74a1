"""What is measured of a training, under the field's names, the same for every loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from cpt.files import write_text
from cpt.roles import Loss
from cpt.types import Batch, Logps

TIMING = ("seconds", "tokens_per_second")
"""Metrics that differ between two runs of the same training."""


@torch.no_grad()
def per_pair(losses: Tensor, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """One value for each pair. Shape (pairs,).

    A reward is `loss.reward_scale` times the log-ratio to the reference, or times the
    log-probability itself for a loss that compares two sides without a reference.
    """
    values = {"loss": losses, "logps/chosen": batch.chosen.policy}
    if not {"reference", "rejected"} & loss.needs:
        return values

    def reward(side: Logps) -> Tensor:
        return loss.reward_scale * (side.ratio if "reference" in loss.needs else side.policy)

    values["rewards/chosen"] = chosen = reward(batch.chosen)
    if "reference" in loss.needs:
        values["logratios/chosen"] = batch.chosen.ratio
    if "rejected" in loss.needs:
        rejected = reward(batch.rejected)
        values |= {
            "logps/rejected": batch.rejected.policy,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": (chosen > rejected).float(),
        }
    if {"reference", "rejected"} <= loss.needs:
        values["logratios/rejected"] = batch.rejected.ratio
    return values


@attrs.define(eq=False)
class Meter:
    """Sums since the last line: what is on the device is read from it once a line.

    Numbers are added up one after the other, in the order they came in, so that a sum does not
    depend on whether a checkpoint was written in between.
    """

    before: dict[str, float] = attrs.field(factory=dict)
    """Sums that were folded; the same on every process."""
    _values: list[dict[str, Tensor]] = attrs.field(factory=list)
    _counts: list[dict[str, float]] = attrs.field(factory=list)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one value for each pair."""
        self._values.append({name: each.sum() for name, each in values.items()})

    def count(self, **numbers: float) -> None:
        """Add what never was on the device."""
        self._counts.append(numbers)

    def fold(self, accelerator: Any) -> dict[str, float]:
        """All sums of all processes, which the meter then begins with: what a checkpoint keeps."""
        alone = accelerator.num_processes == 1
        total = dict(self.before) if alone else {}
        for numbers in [*_read(self._values), *self._counts]:
            for name, number in numbers.items():
                total[name] = total.get(name, 0.0) + number
        if not alone:
            here = torch.tensor(
                list(total.values()), device=accelerator.device, dtype=torch.float64
            )
            everywhere = zip(total, accelerator.reduce(here).tolist(), strict=True)
            total = {name: self.before.get(name, 0.0) + number for name, number in everywhere}
            total = self.before | total
        self.before, self._values, self._counts = total, [], []
        return dict(total)

    def means(self, accelerator: Any) -> dict[str, float]:
        """Everything by pair, or by what it is counted by; the meter begins anew."""
        total = self.fold(accelerator)
        self.before = {}
        pairs, tokens = total.pop("pairs"), total.pop("tokens")
        read, slots = total.pop("read"), total.pop("slots")
        seconds = total.pop("seconds")
        steps, norms = total.pop("steps"), total.pop("grad_norms")
        return {
            **{name: value / pairs for name, value in total.items()},
            "grad_norm": norms / steps,
            "padding": 1 - read / slots,
            "tokens_per_second": tokens / seconds * accelerator.num_processes,
        }


def _read(values: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """The numbers, in one copy from the device."""
    if not values:
        return []
    rows = torch.stack([torch.stack(list(each.values())) for each in values]).tolist()
    return [dict(zip(each, row, strict=True)) for each, row in zip(values, rows, strict=True)]


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line of metrics."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All lines; none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def keep_until(path: Path, step: int) -> None:
    """Drop what was written after a step, as a resumed run writes it again."""
    kept = [line for line in _whole_lines(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _whole_lines(path: Path) -> Sequence[dict[str, Any]]:
    """Lines that were written to their end, as a killed process may leave half a one."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
