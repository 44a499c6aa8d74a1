"""The lm-evaluation-harness as an evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf, isclose, isfinite
from typing import Any, Literal

import attrs
from attrs.validators import ge, min_len, optional

import cpt

PACKAGE = (
    "lm_eval needs the lm-evaluation-harness, which is not installed: "
    "pip install 'contrastive-post-training[harness]'"
)


@attrs.frozen
class LmEval(cpt.RunEvaluator):
    """Tasks of the lm-evaluation-harness, with its own numbers and standard errors.

    The model's folder is given to it as it is. A score is called TASK/METRIC; its interval is the
    harness's standard error times 1.96. Most tasks download their data from the hub.
    """

    name = "lm_eval"
    quality = ("*/acc", "*/exact_match", "*/prompt_level_strict_acc")
    lower_is_better = ("*/*perplexity", "*/bits_per_byte", "*/brier_score", "*/ter")
    unit = "questions"
    needs = frozenset()
    tasks: tuple[str, ...] = attrs.field(validator=min_len(1))
    """Names of tasks, such as `ifeval` or `gsm8k`."""
    include_path: str | None = attrs.field(default=None, metadata=cpt.PATH)
    """Folder with tasks of your own."""
    num_fewshot: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """Examples before each question; by default what the task says."""
    limit: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Most questions of each task."""
    apply_chat_template: bool = True
    """Ask in the model's chat template."""
    batch_size: int = attrs.field(default=8, validator=ge(1), metadata=cpt.NOT_IDENTITY)
    """Rows in a call of the model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What it is computed in; `auto` is what it was saved in."""
    device: str | None = attrs.field(default=None, metadata=cpt.NOT_IDENTITY)
    """Where it runs: `cpu`, `cuda:0`; by default an accelerator if there is one."""

    def check(self) -> None:
        from importlib.util import find_spec

        if find_spec("lm_eval") is None:
            raise cpt.CptError(PACKAGE)

    async def measure(self, evaluation: cpt.Evaluation, ask: cpt.Ask) -> Mapping[str, cpt.Score]:
        from asyncio import to_thread

        from cpt.models import folder_of

        if not evaluation.model.model:
            raise cpt.CptError("lm_eval needs a model's weights; choose --generator transformers.")
        results = await to_thread(self._run, str(folder_of(evaluation.model.model)))
        return scores_of(results)

    def _run(self, folder: str) -> Mapping[str, Any]:
        import lm_eval
        from lm_eval.tasks import TaskManager

        known = TaskManager(include_path=self.include_path)
        try:
            found: Mapping[str, Any] = lm_eval.simple_evaluate(
                model="hf",
                model_args=f"pretrained={folder},dtype={self.dtype}",
                tasks=list(self.tasks),
                task_manager=known,
                num_fewshot=self.num_fewshot,
                limit=self.limit,
                apply_chat_template=self.apply_chat_template,
                batch_size=self.batch_size,
                device=self.device,
            )
        except (KeyError, ValueError, OSError, ConnectionError) as error:
            why = " ".join(str(error).split())[:300]
            raise cpt.CptError(f"lm_eval {', '.join(self.tasks)}: {why}") from error
        return found


def scores_of(results: Mapping[str, Any]) -> dict[str, cpt.Score]:
    """The scores in what `lm_eval.simple_evaluate` returns."""
    return {
        f"{task}/{name}": score
        for task, numbers in results["results"].items()
        for name, score in _scores(numbers, results.get("samples", {}).get(task, ()))
    }


def _scores(
    numbers: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, cpt.Score]]:
    """Those of one task: `acc,none` with its error `acc_stderr,none`."""
    for key, value in numbers.items():
        metric, comma, chosen = key.partition(",")
        if not comma or metric.endswith("_stderr") or not _is_number(value):
            continue
        error = numbers.get(f"{metric}_stderr,{chosen}")
        half = 1.96 * error if error is not None and _is_number(error) else inf
        each = _each(metric, chosen, value, samples) if isfinite(half) else {}
        name = metric if chosen == "none" else f"{metric}/{'_'.join(chosen.split())}"
        yield name, cpt.Score(value=value, low=value - half, high=value + half, each=each)


def _each(
    metric: str, chosen: str, value: float, samples: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The values of single questions, where their mean is the value."""
    each = {
        str(sample["doc_id"]): float(sample[metric])
        for sample in samples
        if sample.get("filter", chosen) == chosen and _is_number(sample.get(metric))
    }
    is_mean = bool(each) and isclose(sum(each.values()) / len(each), value, abs_tol=1e-9)
    return each if is_mean else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)
