"""Stage `model`: from pairs to a model that transformers loads."""

from __future__ import annotations

from pathlib import Path

from cpt import paths
from cpt.data import read_pairs
from cpt.models import folder_of
from cpt.run.stage import Run, Summary, require_option


def ready(run: Run) -> None:
    """Raise `CptError` if there is no model to train."""
    folder_of(require_option(run, "model"))


def train(run: Run) -> Summary:
    """Train, or go on where a killed training stopped."""
    from cpt.training import train as train_on

    summary: Summary = train_on(
        read_pairs(run.path / "pairs.parquet"),
        model=Path(paths.resolve(require_option(run, "model"))),
        scheduler=run.config.scheduler,
        loss=run.config.loss,
        options=run.config.train,
        seed=run.config.seed,
        output=run.path,
        notify=run.events,
    )
    return summary
