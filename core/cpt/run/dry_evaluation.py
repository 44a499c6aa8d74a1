"""What evaluators would ask, found without the models that they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from cpt import paths
from cpt.asking.money.estimates import DryRun
from cpt.errors import CptError, NoPair
from cpt.roles import Evaluation, Responder
from cpt.roles.evaluator import labelled
from cpt.run.stage import Run, require_option
from cpt.run.stages.evaluation import models_of, needs, prompts_of, returned, speaking_of
from cpt.run.stages.holdout import pairs_to_measure
from cpt.types import Missing, Pair, PairLogps


async def ask_of_all(run: Run, ask: DryRun) -> None:
    """Ask for all that the evaluation of the run's models would ask for."""
    if run.config.evaluators:
        await _evaluate(run, [model for _, model in models_of(run)], ask)


async def ask_of_one(run: Run, name: str, ask: DryRun) -> None:
    """The same for one model of a training that is not made yet, whatever it is called."""
    await _evaluate(run, [speaking_of(run, str(run.path / name))], ask)


def not_counted(run: Run) -> list[str]:
    """The evaluators of which nobody knows what they would ask."""
    return [name for name, one in labelled(run.config.evaluators) if one.for_dry_run() is None]


async def _evaluate(run: Run, models: Sequence[Responder], ask: DryRun) -> None:
    base = speaking_of(run, paths.resolve(require_option(run, "model")))
    missing = (model.model or "" for model in models if model.model != base.model)
    ask.unmade |= {name: base.model or "" for name in missing if not Path(name).exists()}
    reference = run.config.train.reference or base.model or ""
    prompts, pairs = list(prompts_of(run)), _pairs(run)
    whole = Evaluation(
        model=base, base=base, reference=reference, prompts=prompts, pairs=pairs, logps_of=_unknown
    )
    for model in models:
        for evaluator in run.config.evaluators:
            if dry := evaluator.for_dry_run():
                with suppress(CptError, NoPair):  # stand-ins have no scores; all is asked by then
                    await returned(dry, attrs.evolve(whole, model=model), ask)


def _pairs(run: Run) -> list[Pair]:
    """Those to measure on, as far as they are there."""
    with suppress(CptError):
        return pairs_to_measure(run) if needs(run, "pairs") else []
    return []


def _unknown(pairs: Sequence[Pair], model: str) -> Mapping[str, PairLogps | Missing]:
    return {pair.id: Missing("not_measured", "nothing is computed to count") for pair in pairs}
