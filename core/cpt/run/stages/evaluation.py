"""Stage `scores`: the model before, after, and beside its controls, on the same prompts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from cpt import paths
from cpt.asking.stats import Stats
from cpt.config import AFTER, BEFORE, ControlConfig
from cpt.data import read_prompts
from cpt.errors import CptError, during
from cpt.likelihood import Reading, log_probabilities
from cpt.roles import Ask, Evaluation, Evaluator, Responder, RunEvaluator
from cpt.roles.evaluator import Material, is_among, labelled
from cpt.roles.returns import call, checked_scores
from cpt.run.asker import asker
from cpt.run.results.scores import PROMPTS, Meanings, Scores, write_scores
from cpt.run.stage import Run, Summary, require_option
from cpt.run.stages.figures import add_scores
from cpt.run.stages.holdout import pairs_to_measure, trained_on
from cpt.run.stages.taking import recorded_loss
from cpt.types import Missing, Pair, Prompt, Score

log = logging.getLogger("cpt")


def ready(run: Run) -> None:
    """Raise `CptError` for prompts that cannot be read: better now than after a training."""
    if run.config.evaluators:
        require_option(run, "generator")
        for _ in prompts_of(run):
            pass
        if needs(run, "pairs") and run.config.eval_pairs:
            pairs_to_measure(run)


def evaluate(run: Run) -> Summary:
    """Measure every model of the run with every evaluator."""
    if not run.config.evaluators:
        return {"evaluators": 0}
    prompts = list(prompts_of(run))
    pairs = pairs_to_measure(run) if needs(run, "pairs") else []
    _warn_of_trained(run, pairs)
    scores, stats = asyncio.run(_evaluate(run, prompts, pairs))
    write_scores(run.path / "scores.json", scores, meanings_of(run.config.evaluators, scores))
    add_scores(run.path / "model" / "README.md", scores)
    counts = {"prompts": len(prompts), "pairs": len(pairs)}
    counts = {name: count for name, count in counts.items() if count} | {"models": len(scores)}
    return counts | stats.left()


def while_training(run: Run) -> Callable[[Path], Mapping[str, float]] | None:
    """What measures the model in a folder with the run's evaluators; None if it has none.

    Answers are kept in the journal by the weights that gave them: a training that is taken up again
    asks nothing twice.
    """
    if not run.config.evaluators:
        return None
    prompts = list(prompts_of(run))
    pairs = pairs_to_measure(run) if needs(run, "pairs") else []

    async def scores(folder: Path) -> dict[str, Score]:
        evaluation = _evaluation(run, prompts, pairs)
        model = speaking_of(run, str(folder))
        async with asker(run, "model") as ask:
            try:
                return await measure(
                    run.config.evaluators, attrs.evolve(evaluation, model=model), ask
                )
            finally:
                ask.stop_if_over_budget(run.path)

    return lambda folder: {name: score.value for name, score in asyncio.run(scores(folder)).items()}


def needs(run: Run, material: Material) -> bool:
    """Whether an evaluator of the run can measure on this, whether or not it must."""
    return any(material in evaluator.needs for evaluator in run.config.evaluators)


def _must_have(run: Run, material: Material) -> bool:
    return any(material in evaluator.must_have() for evaluator in run.config.evaluators)


def _warn_of_trained(run: Run, pairs: Sequence[Pair]) -> None:
    if seen := trained_on(run, pairs) if pairs else 0:
        log.warning(
            "%d of %d pairs to measure on have a prompt that was trained on: those are not held "
            "out.",
            seen,
            len(pairs),
        )


def prompts_of(run: Run) -> Iterator[Prompt]:
    """The prompts to measure on, one by one; none if no evaluator asks for them."""
    if not needs(run, "prompts"):
        return iter(())
    if run.config.eval_prompts is None and not _must_have(run, "prompts"):
        return iter(())
    source = require_option(run, "eval_prompts")
    limit = run.config.eval_limit or run.config.limit
    return islice(read_prompts(source), limit)


async def _evaluate(
    run: Run, prompts: Sequence[Prompt], pairs: Sequence[Pair]
) -> tuple[Scores, Stats]:
    """The scores of every model, and what was asked for them."""
    scores: Scores = {}
    whole = _evaluation(run, prompts, pairs)
    async with asker(run, "scores") as ask:
        try:
            for who, model in models_of(run):
                evaluation = attrs.evolve(whole, model=model)
                scores[who] = await measure(run.config.evaluators, evaluation, ask)
        except CptError:
            ask.stop_if_over_budget(run.path)
            raise
        ask.stop_if_over_budget(run.path)
    return scores, ask.stats


def _evaluation(run: Run, prompts: Sequence[Prompt], pairs: Sequence[Pair]) -> Evaluation:
    """That of the model before training."""
    base, train = paths.resolve(require_option(run, "model")), run.config.train
    names = [field.name for field in attrs.fields(Reading) if hasattr(train, field.name)]
    same = {name: getattr(train, name) for name in names}
    reading = Reading(**same, max_tokens=train.micro_tokens)
    speaking = speaking_of(run, base)
    return Evaluation(
        model=speaking,
        base=speaking,
        reference=train.reference or base,
        prompts=prompts,
        pairs=pairs,
        reward_scale=recorded_loss(run).reward_scale,
        logps_of=lambda pairs, model: log_probabilities(pairs, model, reading),
    )


async def measure(
    evaluators: Sequence[Evaluator], evaluation: Evaluation, ask: Ask
) -> dict[str, Score]:
    """The scores of a model, as `EVALUATOR/SCORE`. Raises `WrongReturn`."""
    found: dict[str, Score] = {}
    for label, evaluator in labelled(evaluators):
        with during(f"the evaluator {evaluator.name!r} measured a model"):
            given = await returned(evaluator, evaluation, ask)
        asked = evaluation.prompts if evaluator.must_have() == {"prompts"} else ()
        for name, score in checked_scores(evaluator, given).items():
            found[f"{label}/{name}"] = attrs.evolve(_of_all(score, asked), unit=_unit(evaluator))
    return found


def _unit(evaluator: Evaluator) -> str:
    """What the evaluator has values for."""
    return evaluator.unit or ("pairs" if evaluator.needs == {"pairs"} else PROMPTS)


def meanings_of(evaluators: Sequence[Evaluator], scores: Scores) -> Meanings:
    """What the evaluators say of the scores that they gave."""
    names = dict.fromkeys(name for named in scores.values() for name in named)
    quality: list[str] = []
    lower: list[str] = []
    effects: dict[str, str] = {}
    for label, evaluator in labelled(evaluators):
        own = {name.partition("/")[2]: name for name in names if name.startswith(f"{label}/")}
        quality += [own[short] for short in own if is_among(short, evaluator.quality)]
        lower += [own[short] for short in own if is_among(short, evaluator.lower_is_better)]
        effects |= {own[name]: said for name, said in evaluator.side_effects.items() if name in own}
    return Meanings(tuple(quality), effects, tuple(lower))


async def returned(evaluator: Evaluator, evaluation: Evaluation, ask: Ask) -> Any:
    """What an evaluator returns, unchecked: a plugin's may be anything."""
    if isinstance(evaluator, RunEvaluator):
        return await call(evaluator, evaluator.measure, evaluation, ask)
    model, prompts = evaluation.model, evaluation.prompts
    return await call(evaluator, evaluator.evaluate, model, prompts, ask)


def _of_all(score: Score, prompts: Sequence[Prompt]) -> Score:
    """The score with a reason for every prompt that it leaves out."""
    if not score.each:
        return score
    unnamed = Missing("not_measured", "the evaluator left it out")
    missing = {
        prompt.id: score.missing.get(prompt.id, unnamed)
        for prompt in prompts
        if prompt.id not in score.each
    }
    return attrs.evolve(score, missing=missing)


def models_of(run: Run) -> Iterator[tuple[str, Responder]]:
    """What is measured, by the name that the table gives it."""
    base = require_option(run, "model")
    yield BEFORE, speaking_of(run, paths.resolve(base))
    yield AFTER, speaking_of(run, str(run.path / "model"))
    for name, control in run.config.controls.items():
        trained = str(control_path(run.path, name) / "model")
        yield name, speaking_of(run, trained if control.loss else paths.resolve(base), control)


def speaking_of(run: Run, model: str, control: ControlConfig | None = None) -> Responder:
    """The generator with this model in it, at the temperature of the control if it has one."""
    generator: Responder = require_option(run, "generator")
    changed: dict[str, Any] = {"model": model}
    if control and control.temperature is not None:
        changed["temperature"] = control.temperature
    return generator.with_options(**changed)


def control_path(run: Path, name: str) -> Path:
    """The run folder of one control."""
    return run / "controls" / name
