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
    if "rejected" in loss.needs:
        rejected = reward(batch.rejected)
        values |= {
            "logps/rejected": batch.rejected.policy,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": (chosen > rejected).float(),
        }
    return values


@attrs.define(eq=False)
class Meter:
    """Sums since the last line: on the device, and read from it once a line."""

    sums: dict[str, Tensor] = attrs.field(factory=dict)
    before: dict[str, float] = attrs.field(factory=dict)
    """Sums that were folded before; the same on every process."""
    counts: dict[str, float] = attrs.field(factory=dict)
    """Sums that never were on the device."""

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one value for each pair."""
        for name, each in values.items():
            total = each.sum()
            self.sums[name] = self.sums[name] + total if name in self.sums else total

    def count(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.counts[name] = self.counts.get(name, 0.0) + number

    def fold(self, accelerator: Any) -> dict[str, float]:
        """All sums of all processes, which the meter then begins with: what a checkpoint keeps."""
        read = torch.stack(list(self.sums.values())).tolist() if self.sums else []
        own = dict(zip(self.sums, read, strict=True)) | self.counts
        if accelerator.num_processes > 1:
            numbers = list(own.values())
            stacked = torch.tensor(numbers, device=accelerator.device, dtype=torch.float64)
            own = dict(zip(own, accelerator.reduce(stacked).tolist(), strict=True))
        total = self.before | {name: self.before.get(name, 0.0) + own[name] for name in own}
        self.sums, self.counts, self.before = {}, {}, total
        return total

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
