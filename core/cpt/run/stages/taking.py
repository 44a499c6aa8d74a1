"""Which loss a run trains with, where its own takes one of several before training."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from cpt import paths
from cpt.config import options
from cpt.errors import BadData, CptError, during
from cpt.files import ODD, json_text, read_json, write_text
from cpt.roles import Choice, Loss, LossChoice
from cpt.roles.weighted_sum import WeightedSum
from cpt.run.asker import asker
from cpt.run.stage import Run, is_main, require_option
from cpt.types import Pair

TAKEN = "loss.json"
POLL = 0.2
"""Seconds between two looks by a process that waits for the main one."""


def check_alone(loss: Loss) -> None:
    """Raise `CptError` if a loss that takes another one is a part of a sum."""
    for part in loss.parts.values() if isinstance(loss, WeightedSum) else ():
        if isinstance(part, LossChoice):
            raise CptError(
                f"--loss {loss.name}: {part.name!r} takes one of several losses, so it cannot be "
                "part of a sum; `cpt advise` says which to name instead."
            )


def taken_loss(run: Run, pairs: Sequence[Pair]) -> tuple[Loss, dict[str, Any]]:
    """The loss to train with, and what the summary says of it; taken once for a folder.

    What is recorded in `loss.json` is taken again, so that a resumed training continues with it.
    """
    if not isinstance(run.config.loss, LossChoice):
        return run.config.loss, {}
    if is_main() and not (run.path / TAKEN).exists():
        choice = asyncio.run(_choose(run, run.config.loss, pairs))
        plain = options.converter(run.registry).unstructure(choice, Choice)
        write_text(run.path / TAKEN, json_text(plain, indent=1))
    while not (run.path / TAKEN).exists():
        time.sleep(POLL)
    loss = recorded_loss(run)
    return loss, {"loss": loss.name, "why": read_json(run.path / TAKEN)["why"]}


def recorded_loss(run: Run) -> Loss:
    """The loss that the run's model was trained with. Raises `BadData` if the record is damaged."""
    plain = read_json(run.path / TAKEN)
    if not isinstance(run.config.loss, LossChoice) or plain is None:
        return run.config.loss
    try:
        return options.build(Choice, plain, run.registry).loss
    except (*ODD, CptError) as error:
        raise BadData(f"{run.path / TAKEN}: not a record of a loss ({error}).") from error


async def _choose(run: Run, loss: LossChoice, pairs: Sequence[Pair]) -> Choice:
    model = paths.resolve(require_option(run, "model"))
    student = require_option(run, "generator").with_options(model=model)
    async with asker(run, "model") as ask:
        with during(f"the loss {loss.name!r} took one of several"):
            choice = await loss.choose(pairs, student, ask)
        ask.stop_if_over_budget(run.path)
    return choice
