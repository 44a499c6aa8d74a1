"""Stage `model`: from pairs to a model that transformers loads."""

from __future__ import annotations

from pathlib import Path

from cpt import paths
from cpt.models import folder_of
from cpt.run.stage import Run, Summary, require_option
from cpt.run.stages.holdout import hold_out, pairs_to_measure
from cpt.run.stages.taking import check_alone, taken_loss


def ready(run: Run) -> None:
    """Raise `CptError` if there is no model to train."""
    folder_of(require_option(run, "model"))
    check_alone(run.config.loss)


def train(run: Run) -> Summary:
    """Train, or go on where a killed training stopped."""
    from cpt.training import train as train_on

    pairs, held_out = hold_out(run)
    measured = pairs_to_measure(run) if watches(run) else []
    loss, taken = taken_loss(run, pairs)
    summary: Summary = train_on(
        pairs,
        model=Path(paths.resolve(require_option(run, "model"))),
        scheduler=run.config.scheduler,
        loss=loss,
        options=run.config.train,
        seed=run.config.seed,
        output=run.path,
        held_out=measured,
        notify=run.events,
    )
    return {**taken, **summary, **({"held_out": len(held_out)} if held_out else {})}


def watches(run: Run) -> bool:
    """Whether the training is measured on held-out pairs as it goes."""
    return bool(run.config.train.eval_every)
