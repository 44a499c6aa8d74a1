"""How the learning rate goes: what its highest value is multiplied by at each step."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cpt.errors import CptError
from cpt.training.options import Training

DECAY = 0.1
"""Share of the steps in which `warmup_stable_decay` falls, where nothing else is given."""


def factor(step: int, steps: int, options: Training) -> float:
    """What the learning rate is multiplied by at a step; the first is 0.

    It depends on nothing else, so that a resumed training has the same rates. Raises `CptError`
    for options that the schedule does not have.
    """
    warmup = round(options.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    left = (steps - step) / (steps - warmup)
    if options.lr_schedule == "linear":
        return left
    if options.lr_schedule == "cosine" and not options.lr_schedule_kwargs:
        return (1 - math.cos(math.pi * left)) / 2
    return 1.0 if options.lr_schedule == "constant" else float(_lambda(steps, options)(step))


def _lambda(steps: int, options: Training) -> Callable[[int], float]:
    kwargs = json.dumps(dict(options.lr_schedule_kwargs))
    rate, warmup = options.learning_rate, round(options.warmup * steps)
    return _theirs(options.lr_schedule, steps, warmup, rate, kwargs)


@lru_cache
def _theirs(name: str, steps: int, warmup: int, rate: float, kwargs: str) -> Callable[[int], float]:
    """The function of a step that transformers has under a name; `kwargs` is JSON."""
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    given = json.loads(kwargs) or _defaults(name, steps)
    try:
        made = get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=given)
        made.lr_lambdas[0](max(0, steps - 1))
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise CptError(
            f"train.lr_schedule_kwargs: {name} of transformers does not take {given} ({reason})."
        ) from error
    compute: Callable[[int], float] = made.lr_lambdas[0]
    return compute


def _defaults(name: str, steps: int) -> dict[str, Any]:
    """What a schedule cannot do without, and transformers does not choose."""
    if name == "warmup_stable_decay":
        return {"num_decay_steps": max(1, round(DECAY * steps))}
    return {"min_lr_rate": 0.1} if name.endswith("with_min_lr") else {}
