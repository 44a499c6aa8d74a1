"""Stage `model`: from pairs to a model that transformers loads."""

from __future__ import annotations

from pathlib import Path

import attrs

from cpt import paths
from cpt.errors import CptError
from cpt.models.folders import folder_of, refuse_classifier
from cpt.roles import Local
from cpt.run.stage import Run, Summary, require_option
from cpt.run.stages import evaluation
from cpt.run.stages.holdout import hold_out, pairs_to_measure
from cpt.run.stages.taking import check_alone, taken_loss


def ready(run: Run) -> None:
    """Raise `CptError` if there is no model to train."""
    refuse_classifier(folder_of(require_option(run, "model")))
    check_alone(run.config.loss)
    if run.config.train.evaluators:
        _ready_to_ask(as_asked(run))


def _ready_to_ask(run: Run) -> None:
    """Raise `CptError` if the model could not be measured with evaluators as it is trained."""
    evaluation.ready(run)
    generator = require_option(run, "generator").with_options(model="")
    if not isinstance(generator, Local):
        raise CptError(
            "--train.evaluators: a model is in this process as it is trained, so --generator must "
            f"run it here, as transformers does; {generator.name!r} does not."
        )


def train(run: Run) -> Summary:
    """Train, or continue where a killed training stopped."""
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
        evaluate=evaluation.while_training(as_asked(run)),
        notify=run.events,
    )
    return {**taken, **summary, **({"held_out": len(held_out)} if held_out else {})}


def watches(run: Run) -> bool:
    """Whether the training is measured on held-out pairs as it goes."""
    return bool(run.config.train.eval_every)


def as_asked(run: Run) -> Run:
    """The run with what measures the model as it is trained, in place of what does in the end."""
    train, limit = run.config.train, run.config.train.evaluators_limit or run.config.eval_limit
    config = attrs.evolve(run.config, evaluators=train.evaluators, eval_limit=limit)
    return attrs.evolve(run, config=config)
