"""The UK AI Security Institute's inspect_ai as an evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf, isclose, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from attrs.validators import ge, min_len, optional

import cpt

PACKAGE = (
    "inspect needs inspect_ai, which is not installed: "
    "pip install 'contrastive-post-training[inspect]'"
)
MEANS = ("accuracy", "mean")
"""The metrics that the one called `stderr` is of."""
GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""What inspect_ai's letters are worth in a mean."""


@attrs.frozen
class Inspect(cpt.RunEvaluator):
    """Tasks of inspect_ai, with its own numbers and standard errors.

    The model's folder is given to it as it is, and asked in its chat template. A score is called
    TASK/METRIC, or TASK/SCORER/METRIC if a task has several scorers; its interval is inspect_ai's
    standard error times 1.96. Tasks of `inspect_evals` download their data from the hub; a file of
    yours with tasks is `tasks.py`, or `tasks.py@name` for one of them.
    """

    name = "inspect"
    quality = ("*/accuracy", "*/prompt_strict_acc")
    unit = "questions"
    needs = frozenset()
    tasks: tuple[str, ...] = attrs.field(validator=min_len(1))
    """Names of tasks, such as `inspect_evals/ifeval`, or files with some."""
    limit: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Most questions of each task."""
    temperature: float = 0.0
    """At which the model answers, where the task does not say."""
    max_tokens: int = attrs.field(default=1024, validator=ge(1))
    """Most tokens in an answer."""
    batch_size: int = attrs.field(default=8, validator=ge(1), metadata=cpt.NOT_IDENTITY)
    """Questions in a call of the model."""
    device: str | None = attrs.field(default=None, metadata=cpt.NOT_IDENTITY)
    """Where it runs: `cpu`, `cuda:0`; by default an accelerator if there is one."""
    save: str | None = attrs.field(default=None, metadata=cpt.NOT_IDENTITY)
    """A folder for inspect_ai's logs, which `inspect view` shows."""

    def check(self) -> None:
        from importlib.util import find_spec

        if find_spec("inspect_ai") is None:
            raise cpt.CptError(PACKAGE)

    async def measure(self, evaluation: cpt.Evaluation, ask: cpt.Ask) -> Mapping[str, cpt.Score]:
        from asyncio import to_thread

        from cpt.models import folder_of

        if not evaluation.model.model:
            raise cpt.CptError("inspect needs a model's weights; choose --generator transformers.")
        folder = str(folder_of(evaluation.model.model))
        with TemporaryDirectory() as temporary:
            return await to_thread(self._scores, folder, self.save or temporary)

    def _scores(self, folder: str, logs: str) -> dict[str, cpt.Score]:
        """What the logs say; they read their samples from the disk when these are asked for."""
        return {
            f"{'_'.join(task.split())}/{name}": score
            for task, log in self._run(folder, logs)
            for name, score in scores_of(log).items()
        }

    def _run(self, folder: str, logs: str) -> list[tuple[str, Any]]:
        import inspect_ai

        model: dict[str, Any] = {"model_path": folder, "batch_size": self.batch_size}
        model |= {"do_sample": self.temperature > 0}
        model |= {"device": self.device} if self.device else {}
        try:
            found = inspect_ai.eval(
                list(self.tasks),
                model="hf/local",
                model_args=model,
                limit=self.limit,
                log_dir=str(Path(logs)),
                display="none",
                log_level="error",
                temperature=self.temperature or None,
                max_tokens=self.max_tokens,
            )
        except Exception as error:  # a task is code of others
            raise self._failed(str(error)) from error
        for log in found:
            if log.status != "success" or log.results is None:
                raise self._failed(getattr(log.error, "message", log.status))
        return [(log.eval.task.rpartition("/")[2], log) for log in found]

    def _failed(self, why: str) -> cpt.CptError:
        return cpt.CptError(f"inspect {', '.join(self.tasks)}: {' '.join(why.split())[:300]}")


def scores_of(log: Any) -> dict[str, cpt.Score]:
    """The scores in a log of inspect_ai."""
    scorers = log.results.scores
    return {
        name if len(scorers) == 1 else f"{'_'.join(one.name.split())}/{name}": score
        for one in scorers
        for name, score in _metrics(one, log.samples or ())
    }


def _metrics(scorer: Any, samples: Sequence[Any]) -> Iterator[tuple[str, cpt.Score]]:
    """Those of one scorer, each with the metric that is its error."""
    values = {name: metric.value for name, metric in scorer.metrics.items()}
    errors = {name for name in values if name.endswith("stderr")}
    for name, value in values.items():
        if name in errors or not _is_number(value):
            continue
        error = values.get(_error_of(name))
        half = 1.96 * error if error is not None and _is_number(error) else inf
        each = _each(scorer.name, value, samples) if isfinite(half) else {}
        yield (
            "_".join(name.split()),
            cpt.Score(value=value, low=value - half, high=value + half, each=each),
        )


def _error_of(metric: str) -> str:
    """`stderr` of `accuracy`, `prompt_strict_stderr` of `prompt_strict_acc`."""
    if metric in MEANS:
        return "stderr"
    return f"{metric.removesuffix('_acc')}_stderr"


def _each(scorer: str, value: float, samples: Sequence[Any]) -> dict[str, float]:
    """The values of single questions, where there is one for each and their mean is the value."""
    graded = ((str(one.id), (one.scores or {}).get(scorer)) for one in samples)
    found = {name: _number(score.value) for name, score in graded if score is not None}
    each = {name: one for name, one in found.items() if one is not None}
    whole = len(each) == len(samples) and bool(each)
    return each if whole and isclose(sum(each.values()) / len(each), value, abs_tol=1e-9) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return GRADES.get(value)
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)
