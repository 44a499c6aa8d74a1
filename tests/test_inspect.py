"""Numbers of inspect_ai come with its own standard errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

import cpt
from cpt.testing import ComponentContract, FakeAsk, Scripted
from cpt_harness.inspect import Inspect, scores_of

from . import tiny

TASK = '''
"""A task that any model can do."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def toy():
    # What every answer has in it, and what none has.
    samples = [Sample(id=n, input=f"q {n}", target=["", "!!!"][n % 2]) for n in range(6)]
    return Task(dataset=samples, solver=generate(), scorer=includes())
'''


def a_log(metrics: dict[str, float], values: list[Any], scorers: int = 1) -> Any:
    """As inspect_ai's `EvalLog`, in what is read of it."""
    named = {name: SimpleNamespace(value=value) for name, value in metrics.items()}
    names = [f"s{number}" for number in range(scorers)]
    samples = [
        SimpleNamespace(id=number, scores=dict.fromkeys(names, SimpleNamespace(value=value)))
        for number, value in enumerate(values)
    ]
    scores = [SimpleNamespace(name=name, metrics=named) for name in names]
    return SimpleNamespace(results=SimpleNamespace(scores=scores), samples=samples)


def test_results_are_read_with_their_errors() -> None:
    found = scores_of(a_log({"accuracy": 0.625, "stderr": 0.1}, ["C", "I", "P", 1]))
    score = found["accuracy"]
    assert [score.value, score.low, score.high] == pytest.approx([0.625, 0.429, 0.821])
    assert score.each == {"0": 1.0, "1": 0.0, "2": 0.5, "3": 1.0}
    assert list(found) == ["accuracy"]


def test_errors_go_with_their_metrics_and_several_scorers_have_their_names() -> None:
    metrics = {"prompt_strict_acc": 0.5, "prompt_strict_stderr": 0.1, "other": 2.0}
    found = scores_of(a_log(metrics, [{"a": 1}], scorers=2))
    assert list(found) == [
        f"s{n}/{name}" for n in (0, 1) for name in ("prompt_strict_acc", "other")
    ]
    assert found["s0/prompt_strict_acc"].low == pytest.approx(0.304)
    assert found["s1/other"].low == float("-inf")
    assert not any(score.each for score in found.values())


@pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is not None, reason="it is installed")
def test_without_the_package_it_is_one_line() -> None:
    with pytest.raises(cpt.CptError, match=r"contrastive-post-training\[inspect\]"):
        Inspect(tasks=("inspect_evals/ifeval",)).check()


class TestInspect(ComponentContract):
    """What it measures is tried below, where inspect_ai is installed."""

    component = Inspect(tasks=("inspect_evals/ifeval",))


async def test_a_saved_folder_is_measured_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    (tmp_path / "tasks.py").write_text(TASK)

    @attrs.frozen
    class Weighty(Scripted):
        """Has weights."""

        model: str = str(tiny.folder(tmp_path / "base"))

    task = f"{tmp_path / 'tasks.py'}@toy"
    evaluator: Any = Inspect(tasks=(task,), device="cpu", max_tokens=8)
    evaluation = cpt.Evaluation(model=Weighty(), base=Weighty())
    found = await evaluator.measure(evaluation, FakeAsk())
    score = found["toy/accuracy"]
    assert (score.value, score.n) == (0.5, 6)
    assert score.low < 0.5 < score.high
    with pytest.raises(cpt.CptError, match=r"inspect .*nothing"):
        await Inspect(tasks=(f"{tmp_path / 'tasks.py'}@nothing",)).measure(evaluation, FakeAsk())
