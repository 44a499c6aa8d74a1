"""Every script under benchmarks/ runs with the code as it is, in its smallest form."""

from __future__ import annotations

import json
import runpy
import shlex
from pathlib import Path

import pytest

import cpt_filters
import cpt_judges

from .fresh import ROOT
from .warm import WarmPython

BENCHMARKS = ROOT / "benchmarks"
RUNS = {
    "asking.py --rows 20 --rounds 1 --at-once 4 --responders server": "cpt server",
    "asking.py --rows 20 --responders server --faults --kills 1": "answers lost: 0",
    "busy.py --step 8 --seconds 0.01": "",
    "doctor.py --rows 20": "exit status 0",
    "kills.py --schedulers staged --kills 1 --steps 8 --prompts 20": '"differences": []',
    "operators.py --pairs ladder.jsonl --model small --steps 3": "floors",
    "pairs.py --preset lab_tiny --limit 4 --sets 'judge llm'": "| judge llm | ",
    "large.py --rows 24": "again",
    "preparing.py --pairs ladder.jsonl --rows 8 --rounds 1 --who cpt bare": "the same ids",
    "real_model.py --help": "--methods",
    "real_pairs.py --ladder ladder.jsonl --authors gpt4 --prompts 8 --sets 'stronger preferred' "
    "--answers 'ladder.jsonl#text_davinci_003'": "| stronger preferred | 8 | 8 |",
    "rounding.py --pairs ladder.jsonl --model small --steps 1": "bf16 learned",
    "startup.py --rounds 1": "cpt --help takes",
    "training.py --pairs ladder.jsonl --model small --batch 2 --steps 2 --trainers cpt apart": (
        "largest relative difference"
    ),
    "zoo.py llama": "1 types: {'exact': 1}",
}
"""Command lines, and what they print among other things."""
GPU = {"gpu.py", "gpu_exact.py", "gpu_parts.py", "gpu_speed.py"}
ELSEWHERE = {"bare.py", "grader.py", "material.py", "trainers.py"} | GPU
"""In the runs of others, and in `test_gpu_benchmark.py`."""


def test_none_is_forgotten() -> None:
    scripts = {path.name for path in BENCHMARKS.glob("*.py")}
    assert scripts == {line.split()[0] for line in RUNS} | ELSEWHERE


def test_every_judge_and_filter_is_in_the_table_of_pairs() -> None:
    pairs = runpy.run_path(str(BENCHMARKS / "pairs.py"))
    assert set(pairs["JUDGES"]) == set(cpt_judges.cpt_judges())
    assert set(pairs["FILTERS"]) == set(cpt_filters.cpt_filters())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small ladder."""
    desk = tmp_path_factory.mktemp("desk")
    rows = [
        {
            "prompt": f"What is {number} and {number}?",
            "responses": {"gpt4": f"It is {2 * number}.", "text_davinci_003": f"Say {number}."},
        }
        for number in range(16)
    ]
    (desk / "ladder.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return desk


@pytest.mark.parametrize("line", RUNS)
def test_it_runs(line: str, warm: WarmPython, desk: Path) -> None:
    script, *arguments = shlex.split(line)
    env = {"CPT_CACHE": str(desk / "cache")}
    ended = warm.run(BENCHMARKS / script, *arguments, cwd=desk, env=env)
    assert ended.status == 0, ended.err
    assert RUNS[line] in ended.out
