"""What evaluators would ask, found without the models that they measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from cpt import paths
from cpt.config import BEFORE
from cpt.errors import CptError, NoPair
from cpt.roles import Ask, Evaluation, Local, Responder
from cpt.roles.evaluator import labelled
from cpt.run.stage import Run, require_option
from cpt.run.stages.evaluation import models_of, needs, prompts_of, returned, speaking_of
from cpt.run.stages.holdout import pairs_to_measure
from cpt.types import Missing, Pair, PairLogps


async def ask_of_all(run: Run, ask: Ask) -> None:
    """Ask for all that the evaluation of the run's models would ask for."""
    if run.config.evaluators:
        await _evaluate(run, list(_models(run)), ask)


async def ask_of_one(run: Run, who: str, ask: Ask) -> None:
    """The same for one model of a training that is not made yet."""
    await _evaluate(run, [_not_made(_base(run), who)], ask)


def not_counted(run: Run) -> list[str]:
    """The evaluators of which nobody knows what they would ask."""
    return [name for name, one in labelled(run.config.evaluators) if one.for_dry_run() is None]


async def _evaluate(run: Run, models: Sequence[Responder], ask: Ask) -> None:
    base = _base(run)
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


def _base(run: Run) -> Responder:
    return speaking_of(run, paths.resolve(require_option(run, "model")))


def _pairs(run: Run) -> list[Pair]:
    """Those to measure on, as far as they are there."""
    with suppress(CptError):
        return pairs_to_measure(run) if needs(run, "pairs") else []
    return []


def _models(run: Run) -> Iterator[Responder]:
    for who, model in models_of(run):
        there = who == BEFORE or Path(model.model or "").exists()
        yield model if there else _not_made(model.with_options(model=_base(run).model), who)


def _not_made(base: Responder, who: str) -> Responder:
    """One that is like its base, but whose answers no journal has."""
    if not isinstance(base, Local):
        return base
    kind = type(base)

    def identity(self: Any) -> Mapping[str, Any]:
        return {**kind.identity.__get__(self), "not_made": who}

    made = type(kind.__name__, (kind,), {"identity": property(identity)})
    fields = (field for field in attrs.fields(kind) if field.init)
    return made(**{field.alias: getattr(base, field.name) for field in fields})  # type: ignore[no-any-return]


def _unknown(pairs: Sequence[Pair], model: str) -> Mapping[str, PairLogps | Missing]:
    return {pair.id: Missing("not_measured", "nothing is computed to count") for pair in pairs}
