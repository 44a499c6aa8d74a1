"""What is measured of a training, under the field's names, the same for every loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from cpt.files import as_written, disk_errors, from_json, json_text, write_text
from cpt.roles import Loss
from cpt.types import Batch

PER_DEVICE = "tokens_per_second_per_device"
WORK = ("mfu", "mfu_exact")
"""Shares of the device's peak, as others count and of what is needed: see `flops`."""
TIMING = ("seconds", "tokens_per_second", PER_DEVICE, *WORK)
"""Metrics that differ between two runs of the same training."""
ROUTING = ("router_aux_loss", "expert_load_max")
"""Of a mixture of experts, by the tokens that it read: see `Routing`."""
SHARE = "share/"
"""Begins the name of the share of pairs that have a side."""


@torch.no_grad()
def per_pair(losses: Tensor, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """One value for each pair. Shape (pairs,).

    A log-ratio is log pi(y|x) - log pi_ref(y|x), summed over the answer's tokens. A reward is
    what `loss.reward` says. Of unpaired data each side has its share of the pairs.
    """
    sides = {"chosen": batch.chosen}
    if "rejected" in loss.needs:
        sides["rejected"] = batch.rejected
    values = {"loss": losses}
    if "score" not in loss.needs:
        values |= {f"logps/{name}": side.policy for name, side in sides.items()}
    if "reference" in loss.needs:
        values |= {f"logratios/{name}": side.ratio for name, side in sides.items()}
    elif "rejected" not in loss.needs:
        return values
    rewards = {name: loss.reward(side) for name, side in sides.items()}
    values |= {f"rewards/{name}": reward for name, reward in rewards.items()}
    if "rejected" not in loss.needs:
        return values
    if batch.is_unpaired:
        return values | {f"{SHARE}{name}": side.present.float() for name, side in sides.items()}
    chosen, rejected = rewards.values()
    return values | {
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": ((chosen > rejected).float() + (chosen >= rejected).float()) / 2,
    }


@attrs.define(eq=False)
class Meter:
    """Sums since the last line: what is on the device is read from it once for each line.

    Numbers are added one after the other, in the order they came in, so that a sum does not
    depend on whether a checkpoint was written in between.
    """

    before: dict[str, float] = attrs.field(factory=dict)
    """Sums that were folded; the same on every process."""
    _values: list[dict[str, Tensor]] = attrs.field(factory=list)
    _counts: list[dict[str, float]] = attrs.field(factory=list)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one value for each pair."""
        self._values.append({name: numbers.sum() for name, numbers in values.items()})

    def count(self, **numbers: float) -> None:
        """Add numbers that are not on the device."""
        self._counts.append(numbers)

    def fold(self, accelerator: Any) -> dict[str, float]:
        """All sums of all processes, which the meter then continues: what a checkpoint keeps."""
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
        """Everything by pair, or by what it is counted by; the meter starts again."""
        total = self.fold(accelerator)
        self.before = {}
        pairs, tokens = total.pop("pairs"), total.pop("tokens")
        read, slots = total.pop("read"), total.pop("slots")
        seconds = total.pop("seconds")
        work = {name: total.pop(name) / seconds for name in WORK if name in total}
        steps, norms = total.pop("steps"), total.pop("grad_norms")
        routing = {name: total.pop(name) / read for name in ROUTING if name in total}
        return {
            **_by_side({name: value / pairs for name, value in total.items()}),
            **routing,
            "grad_norm": norms / steps,
            "padding": 1 - read / slots,
            "tokens_per_second": tokens / seconds * accelerator.num_processes,
            **({} if accelerator.num_processes == 1 else {PER_DEVICE: tokens / seconds}),
            **work,
        }


def _by_side(means: dict[str, float]) -> dict[str, float]:
    """Of unpaired data: what was measured of a side, by the answers that there are on it."""
    shares = {name: share for name, share in means.items() if name.startswith(SHARE)}
    for name, share in shares.items():
        side = name.removeprefix(SHARE)
        for measured in [f"{kind}/{side}" for kind in ("logps", "logratios", "rewards")]:
            if measured in means:
                value = means.pop(measured)
                means |= {measured: value / share} if share else {}
    if shares and {"rewards/chosen", "rewards/rejected"} <= means.keys():
        means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
    return means


def _read(values: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """The numbers, in one copy from the device."""
    if not values:
        return []
    read = iter(torch.stack([number for sums in values for number in sums.values()]).tolist())
    return [{name: next(read) for name in sums} for sums in values]


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line of metrics."""
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(json_text(line) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All lines; none if there is no file."""
    if not path.exists():
        return []
    with as_written(path):
        return [from_json(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def keep_until(path: Path, step: int) -> None:
    """Drop what was written after a step, as a resumed run writes it again."""
    with as_written(path):
        kept = [line for line in _whole_lines(path) if line["step"] <= step]
    write_text(path, "".join(json_text(line) + "\n" for line in kept))


def _whole_lines(path: Path) -> Sequence[dict[str, Any]]:
    """Lines that end with a line break: a killed process may leave an unfinished one."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [from_json(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
