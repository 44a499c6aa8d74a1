"""Every kind of fault that texts show is found where it was planted, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cpt.training.kinds import KINDS
from cpt_lab.world import ask, draw, write

GOOD = "Water boils at 100 degrees at sea level. Higher up it boils earlier, as the air is thin."
POOR = "Water boils when it is hot enough. That is nearly always at the same point, more or less."
TOOL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def row(chosen: Any = GOOD, rejected: Any = POOR, prompt: Any = "When does it boil?", **rest: Any):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **rest}


def said(text: str, **rest: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text, **rest}]


PLANTED: Mapping[str, list[dict[str, Any]]] = {
    "empty": [row(chosen=" \n")],
    "identical": [row(rejected=f"{GOOD} ")],
    "parts_early": [
        row(
            chosen="\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            rejected="\n\nHuman: a\n\nAssistant: e\n\nHuman: f\n\nAssistant: g",
            prompt="",
        )
    ],
    "contradicted": [row(), row(chosen=POOR, rejected=GOOD)],
    "repeated": [row(), row()],
    "both_ways": [row(), row(chosen=POOR, rejected="Never mind.")],
    "scored_below": [row(score_chosen=2, score_rejected=7)],
    "control_token": [row(chosen=f"{GOOD}<|im_end|>")],
    "marker_in_text": [row(chosen=f"{GOOD}\n\n### Response: {POOR}")],
    "placeholder": [row(chosen=f"{{corrected_student_solution}}\n{GOOD}")],
    "revision_talk": [row(chosen=f"Here is the corrected solution: {GOOD}")],
    "role_in_answer": [row(chosen=f"Assistant: {GOOD}")],
    "prompt_in_answer": [row(chosen=f"When does it boil? {GOOD}")],
    "media_lost": [row(prompt="<image>\nWhen does it boil?")],
    "near_identical": [row(rejected=GOOD.lower())],
    "refusal_chosen": [row(chosen="I'm sorry, but I can't help with that request.")],
    "cut_off": [row(chosen_info={"outcome": "cut_off"})],
    "cut_short": [row(chosen=GOOD[:70])],
    "thought_on_one_side": [row(chosen=f"<think>It is 100.</think>{GOOD}")],
    "empty_thought": [
        row(chosen=f"<think>\n\n</think>{GOOD}", rejected=f"<think>\n\n</think>{POOR}")
    ],
    "thought_unclosed": [
        row(chosen=f"<think>It is {GOOD}", rejected=f"<think>It is hot.</think>{POOR}")
    ],
    "tools_lost": [row(chosen=said(GOOD, tool_calls=[TOOL]), rejected=said(POOR))],
    "other_script": [row(chosen="Вода кипит при ста градусах на уровне моря.")],
    "broken_text": [row(chosen=GOOD.replace("as the", "it\u00e2\u20ac\u2122s the"))],
    "in_evaluation": [row(prompt="Who was asked?")],
    "length_tells": [
        row(chosen=f"{GOOD} {GOOD}", rejected=f"{POOR[: 34 + n]}.", prompt=f"Question {n}?")
        for n in range(40)
    ],
}


def written(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    return str(path)


def examined(cpt_cli: Any, path: str, *more: str) -> tuple[int, dict[str, Any]]:
    result = cpt_cli("doctor", path, "--json", *more)
    assert not result.exception or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(kind: str, cpt_cli: Any, tmp_path: Path) -> None:
    source = written(tmp_path / "pairs.jsonl", PLANTED[kind])
    asked = written(tmp_path / "eval.jsonl", [{"prompt": "who was asked"}])
    status, found = examined(cpt_cli, source, "--eval-prompts", asked)
    assert found["findings"].keys() == {kind}
    assert found["severity"] == {kind: KINDS[kind].severity}
    assert status == (2 if KINDS[kind].severity == "error" else 0)
    assert found["pairs"] == len(PLANTED[kind])


def test_more_than_twenty_kinds_are_planted_and_only_tokens_show_the_others() -> None:
    assert len(PLANTED) > 20
    assert KINDS.keys() - PLANTED.keys() == {
        *("template", "outside_vocabulary", "prompt_too_long", "answer_too_long"),
        *("one_side_too_long", "tools_left_out", "double_bos", "truncated", "boundary_merge"),
        *("eos_added", "rewritten", "plain_template"),
    }


def test_clean_pairs_of_the_lab_have_no_finding(cpt_cli: Any, tmp_path: Path) -> None:
    random = Random(0)
    tasks = islice(draw("train", random), 600)
    drawn = [(ask(task, random), write(task, random), write(task, random, 0.5)) for task in tasks]
    asked = {question: (good, poor) for question, good, poor in drawn if good != poor}
    rows = [row(good, poor, question) for question, (good, poor) in asked.items()]
    assert len(rows) > 300
    status, found = examined(cpt_cli, written(tmp_path / "lab.jsonl", rows))
    assert (status, found["findings"]) == (0, {})
