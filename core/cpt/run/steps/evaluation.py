"""Stage `scores`: the model before, after, and beside its controls, on the same prompts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import attrs

from cpt import paths
from cpt.config import AFTER, BEFORE, Control
from cpt.data import read_prompts
from cpt.errors import during
from cpt.files import write_text
from cpt.roles import Ask, Evaluator, Responder
from cpt.roles.returns import call, checked_scores
from cpt.run.asker import asker
from cpt.run.read import Scores
from cpt.run.stage import Run, Summary, needed
from cpt.types import Prompt, Score


def ready(run: Run) -> None:
    """Raise `CptError` for prompts that cannot be read: better now than after a training."""
    if run.config.evaluators:
        needed(run, "generator")
        for _ in _prompts(run):
            pass


def evaluate(run: Run) -> Summary:
    """Measure every model of the run with every evaluator."""
    if not run.config.evaluators:
        return {"evaluators": 0}
    prompts = list(_prompts(run))
    scores = asyncio.run(_evaluate(run, prompts))
    plain = {
        "scores": {
            model: {name: attrs.asdict(score) for name, score in named.items()}
            for model, named in scores.items()
        },
        "change": {model: changes(scores[BEFORE], named) for model, named in scores.items()},
    }
    write_text(run.path / "scores.json", json.dumps(plain, indent=1))
    return {"prompts": len(prompts), "models": len(scores)}


def _prompts(run: Run) -> Iterator[Prompt]:
    source = needed(run, "eval_prompts")
    limit = run.config.eval_limit or run.config.limit
    return islice(read_prompts(source), limit)


async def _evaluate(run: Run, prompts: Sequence[Prompt]) -> Scores:
    scores: Scores = {}
    async with asker(run, "scores") as ask:
        for who, model in _models(run):
            scores[who] = await measure(run.config.evaluators, model, prompts, ask)
    return scores


async def measure(
    evaluators: Sequence[Evaluator], model: Responder, prompts: Sequence[Prompt], ask: Ask
) -> dict[str, Score]:
    """The scores of a model, as `EVALUATOR/SCORE`. Raises `WrongReturn`."""
    found: dict[str, Score] = {}
    for evaluator in evaluators:
        with during(f"the evaluator {evaluator.name!r} measured a model"):
            returned = await call(evaluator, evaluator.evaluate, model, prompts, ask)
        for name, score in checked_scores(evaluator, returned).items():
            found[f"{evaluator.name}/{name}"] = score
    return found


def _models(run: Run) -> Iterator[tuple[str, Responder]]:
    """What is measured, by the name that the table gives it."""
    base = needed(run, "model")
    yield BEFORE, _speaking(run, paths.resolve(base))
    yield AFTER, _speaking(run, str(run.path / "model"))
    for name, control in run.config.controls.items():
        trained = str(control_path(run.path, name) / "model")
        yield name, _speaking(run, trained if control.loss else paths.resolve(base), control)


def _speaking(run: Run, model: str, control: Control | None = None) -> Responder:
    generator: Responder = needed(run, "generator")
    changed: dict[str, Any] = {"model": model}
    if control and control.temperature is not None:
        changed["temperature"] = control.temperature
    return generator.with_options(**changed)


def control_path(run: Path, name: str) -> Path:
    """The run folder of one control."""
    return run / "controls" / name


def changes(before: Mapping[str, Score], after: Mapping[str, Score]) -> dict[str, dict[str, float]]:
    """The mean change of each score with its 95% interval, prompt by prompt."""
    return {
        name: _paired(before[name], after[name])
        for name in after
        if name in before and before[name].each.keys() & after[name].each.keys()
    }


def _paired(before: Score, after: Score) -> dict[str, float]:
    shared = before.each.keys() & after.each.keys()
    gaps = [after.each[prompt] - before.each[prompt] for prompt in shared]
    half = 1.96 * stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.inf
    mean = fmean(gaps)
    return {"value": mean, "low": mean - half, "high": mean + half}
