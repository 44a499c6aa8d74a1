"""What the options leave open is set so that a training fits into the memory of its device."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cpt.training.forward.cpu import count_parameters
from cpt.training.planning.plan import Plan
from cpt.training.resources.estimate import FREE, Counted, capacity, flags

log = logging.getLogger("cpt")

SURE = 60.0
"""Bytes for each parameter that are more than any training takes: then nothing is estimated."""
OPEN: Sequence[Mapping[str, Any]] = (
    {},
    {"gradient_checkpointing": True},
    {"gradient_checkpointing": True, "micro_tokens": 2048},
    {"micro_tokens": 2048},
)
"""What may be set where nobody has; it changes what is computed by rounding alone."""


def fitted(plan: Plan, device: str) -> Plan:
    """The plan, changed as little as makes it fit into one device; unchanged if nothing does.

    `device` is its type. Only options that are not set are changed, and a line says which.
    """
    size = capacity(device)
    if count_parameters(plan.folder) * SURE < size:
        return plan
    change = _change(plan, device, FREE * size)
    if not change:
        return plan
    log.warning(
        "It is estimated not to fit into the memory here (%.3g GB) without %s, which is therefore "
        "set.",
        size / 1e9,
        flags(change),
    )
    return attrs.evolve(plan, options=attrs.evolve(plan.options, **change))


def _change(plan: Plan, device: str, most: float) -> Mapping[str, Any]:
    """The first change of what is open that fits into so many bytes; none if none does."""
    counted = Counted(plan)
    for change in OPEN:
        if any(getattr(plan.options, name) is not None for name in change):
            continue
        if counted.total(attrs.evolve(plan.options, **change), device) <= most:
            return change
    return {}
