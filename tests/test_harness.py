"""Numbers of the lm-evaluation-harness come with its own standard errors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import attrs
import pytest

import cpt
from cpt.testing import ComponentContract, FakeAsk, Scripted
from cpt_harness.lm_eval import LmEval, scores_of

from . import tiny

TASK = """
task: toy
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{label}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def test_results_are_read_with_their_errors() -> None:
    samples = [{"doc_id": n, "filter": "none", "acc": float(n % 2)} for n in range(4)]
    found = scores_of(
        {
            "results": {
                "toy": {
                    "alias": "toy",
                    "acc,none": 0.5,
                    "acc_stderr,none": 0.1,
                    "exact_match,strict-match": 0.25,
                    "exact_match_stderr,strict-match": "N/A",
                }
            },
            "samples": {"toy": samples},
        }
    )
    score = found["toy/acc"]
    assert (score.value, score.low, score.high, score.n) == (0.5, 0.304, 0.696, 4)
    assert found["toy/exact_match/strict-match"].each == {}


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="it is installed")
def test_without_the_package_it_is_one_line() -> None:
    with pytest.raises(cpt.CptError, match=r"contrastive-post-training\[harness\]"):
        LmEval(tasks=("ifeval",)).check()


class TestLmEval(ComponentContract):
    """What it measures is tried below, where the harness is installed."""

    component = LmEval(tasks=("ifeval",))


async def test_a_saved_folder_is_measured_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    rows = [{"question": f"q {n} ", "choices": ["ab", "cd"], "label": n % 2} for n in range(6)]
    (tmp_path / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/toy.yaml").write_text(TASK.format(file=tmp_path / "toy.jsonl"))

    @attrs.frozen
    class Weighty(Scripted):
        """Has weights."""

        model: str = str(tiny.folder(tmp_path / "base"))

    evaluator: Any = LmEval(
        tasks=("toy",), include_path=str(tmp_path / "tasks"), device="cpu", dtype="float32"
    )
    evaluation = cpt.Evaluation(model=Weighty(), base=Weighty())
    score = (await evaluator.measure(evaluation, FakeAsk()))["toy/acc"]
    assert score.n == 6 and score.low < score.value < score.high
