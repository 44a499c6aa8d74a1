"""What `cpt train --dry-run` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from cpt.cli.printing.estimates import plain_estimates, print_estimates
from cpt.cli.printing.output import echo, print_json

if TYPE_CHECKING:
    from cpt.asking.money.estimates import Estimate
    from cpt.training.resources.estimate import Fit, TrainingEstimate


def print_training(
    estimate: TrainingEstimate,
    asked: Mapping[str, Estimate],
    measuring: Mapping[str, Estimate],
    uncounted: Sequence[str],
    as_json: bool,
) -> None:
    """Print what training would take, where it fits, and what is asked for before and in it."""
    measures = measuring or uncounted
    if as_json:
        found = {"asking": plain_estimates(asked)} if asked else {}
        found |= {"measuring": plain_estimates(measuring, uncounted)} if measures else {}
        print_json(estimate.plain() | found)
        return
    for name, text in _lines(estimate):
        echo(f"{name:<11} {text}")
    if asked:
        echo("before it, to take the loss:")
        print_estimates(asked, as_json=False)
    if measures:
        echo("in it, for its evaluators:")
        print_estimates(measuring, False, uncounted)


def _lines(estimate: TrainingEstimate) -> Iterator[tuple[str, str]]:
    yield "parameters", f"{_count(estimate.parameters)}, {_count(estimate.trained)} of them trained"
    yield "steps", f"{estimate.steps:,}, over {estimate.pairs:,} pairs, {estimate.tokens:,} tokens"
    yield (
        "work",
        f"{estimate.flops:.3g} FLOPs: {_hours(estimate.hours)} on one {estimate.device} "
        f"at {estimate.mfu:.0%} of its peak",
    )
    memory = attrs.asdict(estimate.memory)
    parts = ", ".join(f"{name} {_bytes(value)}" for name, value in memory.items())
    yield "memory", f"{_bytes(estimate.memory.total)}: {parts}"
    yield "here", _fit(estimate.here)
    for name, fit in estimate.devices.items():
        yield name, _fit(fit)


def _fit(fit: Fit) -> str:
    from cpt.training.resources.estimate import flags

    if fit.fits:
        return f"fits into {_bytes(fit.bytes)}"
    if fit.change is None:
        return f"does not fit into {_bytes(fit.bytes)}, whatever the options"
    return f"fits into {_bytes(fit.bytes)} with {flags(fit.change)}"


def _count(number: int) -> str:
    size, unit = (1e9, "B") if number >= 1e9 else (1e6, "M") if number >= 1e6 else (1e3, "k")
    return f"{number / size:.3g}{unit}"


def _bytes(number: float) -> str:
    return f"{number / 1e9:.3g} GB" if number >= 1e8 else f"{number / 1e6:.0f} MB"


def _hours(hours: float) -> str:
    if hours < 1 / 600:
        return "less than 0.1 min"
    return f"{hours:.2g} h" if hours >= 1 else f"{60 * hours:.2g} min"
