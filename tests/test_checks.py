"""Every kind of fault that texts show is found where it was planted, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from cpt.data import write_pairs
from cpt.training.kinds import KINDS
from cpt_lab.world import ask, draw, write

from . import tiny

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
    "media": [row(images=["x.png"])],
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
        *("eos_added", "rewritten", "plain_template", "unpaired", "one_answer"),
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


def test_many_pairs_are_examined_by_several_processes_in_their_order(
    cpt_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [planted for kind in PLANTED if kind != "length_tells" for planted in PLANTED[kind]]
    source = written(
        tmp_path / "pairs.jsonl", [{"id": str(n)} | row for n, row in enumerate(every)]
    )
    alone = examined(cpt_cli, source, "--fix", str(tmp_path / "alone.jsonl"))
    monkeypatch.setattr("cpt.run.examining.examiner.AT_ONCE", 4)
    monkeypatch.setattr("cpt.run.examining.examiner.FEW", 2)
    together = examined(cpt_cli, source, "--fix", str(tmp_path / "together.jsonl"))
    assert together[1]["examples"] == alone[1]["examples"]
    assert together[1]["findings"] == alone[1]["findings"]
    for name, value in alone[1]["contrast"].items():
        if name != "by_source":
            assert together[1]["contrast"][name] == pytest.approx(value)
    assert (tmp_path / "alone.jsonl").read_text() == (tmp_path / "together.jsonl").read_text()
    bad = written(tmp_path / "bad.jsonl", [*every, row(score_chosen="high")])
    result = cpt_cli("doctor", bad)
    assert result.exit_code == 2 and f"bad.jsonl:{len(every) + 1}: " in result.stderr


def test_what_is_fixed_has_the_same_columns_and_no_fault(cpt_cli: Any, tmp_path: Path) -> None:
    rows = [*PLANTED["scored_below"], *PLANTED["repeated"], row(prompt="Why?", domain="physics")]
    source = written(tmp_path / "pairs.jsonl", rows)
    status, found = examined(cpt_cli, source, "--fix", str(tmp_path / "fixed.jsonl"))
    assert (status, found["fixed"]) == (2, 1)
    assert (tmp_path / "fixed.jsonl").read_text() == json.dumps(rows[-1]) + "\n"
    assert examined(cpt_cli, str(tmp_path / "fixed.jsonl"))[0] == 0
    allowed = ("--train.allow", "scored_below", "--train.allow", "repeated")
    status, found = examined(cpt_cli, source, "--fix", str(tmp_path / "all.jsonl"), *allowed)
    assert (status, found["fixed"]) == (0, 4)


def test_what_is_read_is_never_replaced_by_what_is_left_of_it(cpt_cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    source = written(folder / "pairs.jsonl", [*PLANTED["repeated"], row(prompt="Why?")])
    before = (folder / "pairs.jsonl").read_text()
    for read in (source, str(folder)):
        for line in (("doctor", read, "--fix"), ("export", read, "--format", "trl", "--output")):
            done = cpt_cli(*line, str(folder / "../data/pairs.jsonl"))
            assert (done.exit_code, "is read from; name another" in done.stderr) == (2, True)
    assert (folder / "pairs.jsonl").read_text() == before


def test_a_table_is_fixed_as_a_table_and_nothing_is_written_of_nothing(
    cpt_cli: Any, tmp_path: Path
) -> None:
    good, bad = tiny.pair("p", "a b c", "d e f", id="good"), tiny.pair("q", "a", "a", id="bad")
    write_pairs(tmp_path / "pairs.parquet", [good, bad])
    done = cpt_cli(
        "doctor", str(tmp_path / "pairs.parquet"), "--fix", str(tmp_path / "out.parquet")
    )
    assert done.exit_code == 0, done.output
    before, after = (pq.read_table(tmp_path / name) for name in ("pairs.parquet", "out.parquet"))
    assert before.schema == after.schema and after.num_rows == 1
    write_pairs(tmp_path / "bad.jsonl", [bad])
    done = cpt_cli("doctor", str(tmp_path / "bad.jsonl"), "--fix", str(tmp_path / "none.jsonl"))
    assert done.exit_code == 2 and "no row would be left" in done.stderr
    assert not (tmp_path / "none.jsonl").exists()


def test_an_error_stops_training_unless_it_is_allowed(
    cpt_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.folder(tmp_path / "student")
    written(Path("pairs.jsonl"), [row("A b.", "C d.", "e"), *PLANTED["scored_below"]])
    asked = ["train", "--pairs", "pairs.jsonl", "--model", "student", "--loss", "dpo"]
    asked += ["--train.batch-size", "2"]
    done = cpt_cli(*asked, "--output", "one")
    assert done.exit_code == 2 and "scored_below 1" in done.stderr
    assert "--train.allow scored_below" in done.stderr and not Path("one/model").exists()
    done = cpt_cli(*asked, "--output", "two", "--train.allow", "scored_below")
    assert done.exit_code == 0, done.output


def test_the_tokens_of_a_pair_are_shown_with_what_is_trained(cpt_cli: Any, tmp_path: Path) -> None:
    tiny.folder(tmp_path / "student")
    source = written(tmp_path / "pairs.jsonl", [row("abcd", "dcba", "e", id="one")])
    shown = ("doctor", source, "--model", str(tmp_path / "student"), "--show")
    tokens = json.loads(cpt_cli(*shown, "one", "--json").stdout)["sides"]["chosen"]
    trained = "".join(token["token"] for token in tokens if token["trained"])
    assert trained == "abcd<|im_end|>\n"
    assert "[abcd] [<|im_end|>]" in cpt_cli(*shown, "one").stdout
    assert "no pair has the id 'two'" in cpt_cli(*shown, "two").stderr
