"""Single answers, good or bad, are read and trained on; a loss that compares two refuses them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from cpt import CptError, Loss, Message, Pair, Response, read_pairs
from cpt.data import write_pairs
from cpt.training.data.prepare import examine
from cpt.training.loss.metrics import TIMING
from cpt.training.options import Training
from cpt_apo.losses import ApoZeroUnpaired
from cpt_losses.pointwise import Bco, Kto
from cpt_slic import Sft

from . import tiny

ASK, PARIS = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Paris"}


def one(tmp_path: Path, row: dict[str, Any]) -> Pair:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (pair,) = read_pairs(tmp_path / "rows.jsonl")
    return pair


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"prompt": "Where?", "completion": "Paris", "label": True}, True),
        ({"prompt": "Where?", "completion": "Paris", "label": False}, False),
        ({"prompt": [ASK], "completion": [PARIS], "label": "false"}, False),
        ({"messages": [ASK, PARIS], "label": 0}, False),
        ({"messages": [ASK, PARIS], "label": 1.0}, True),
        ({"messages": [ASK, PARIS]}, True),
        ({"conversations": [{"from": "human", "value": "Where?"}, PARIS]}, True),
        ({"prompt": "Where?", "completion": "Paris"}, True),
        ({"instruction": "Where?", "input": "", "output": "Paris"}, True),
        ({"prompt": "Where?", "response": "Paris"}, True),
        ({"prompt": "Where?", "rejected": [PARIS], "label": False}, False),
    ],
    ids=str,
)  # fmt: skip
def test_single_answers_are_read(tmp_path: Path, row: dict[str, Any], label: bool) -> None:
    pair = one(tmp_path, row)
    assert pair.label is label
    assert [answer.text for answer in pair.answers] == ["Paris"]
    assert pair.answers[0] is (pair.chosen if label else pair.rejected)
    assert pair.prompt.messages == (Message("user", "Where?"),)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"prompt": "a", "completion": [ASK], "label": True}, "not one message of the assistant"),
        ({"prompt": "a", "completion": "b", "label": 2}, "label is 2, not true or false"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "its rejected is empty"),
        ({"completion": "b", "label": True}, "no pair: expected the columns chosen and rejected"),
    ],
)
def test_what_is_no_single_answer(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CptError, match=complaint):
        one(tmp_path, row)


def single(pair: Pair, label: bool) -> Pair:
    """One side of a pair by itself."""
    nobody = Response(prompt_id=pair.prompt.id, text="", author="")
    other = {"rejected": nobody} if label else {"chosen": nobody}
    return attrs.evolve(pair, label=label, id=f"{pair.id}/{label}", **other)  # type: ignore[arg-type]


def singles(pairs: Sequence[Pair]) -> list[Pair]:
    return [single(pair, label) for pair in pairs for label in (True, False)]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_they_are_written_and_read_again(tmp_path: Path, suffix: str) -> None:
    pairs = [*singles(tiny.pairs(2)), *tiny.pairs(1, seed=1)]
    write_pairs(tmp_path / f"pairs.{suffix}", pairs)
    assert read_pairs(tmp_path / f"pairs.{suffix}") == pairs


def test_a_table_of_pairs_has_no_column_for_it(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.parquet", tiny.pairs(2))
    assert "label" not in pq.read_schema(tmp_path / "pairs.parquet").names


EXPECTED = {"empty": 1, "unpaired": 8, "repeated": 1, "both_ways": 3, "contradicted": None}


def test_the_doctor_notes_them_and_says_what_is_wrong() -> None:
    pairs = singles(tiny.pairs(3))
    pairs += [attrs.evolve(pairs[0], id="again"), attrs.evolve(single(tiny.pairs(1)[0], True))]
    pairs[-1] = attrs.evolve(pairs[-1], chosen=attrs.evolve(pairs[-1].chosen, text=" "), id="blank")
    bad = attrs.evolve(pairs[0], label=False, rejected=pairs[0].chosen, chosen=pairs[1].chosen)
    found = examine([*pairs, attrs.evolve(bad, id="both")], tiny.tokenizer(), Training())
    # The first answer is there twice as a good one, and once as a bad one.
    assert {name: found.counts.get(name) for name in EXPECTED} == EXPECTED
    assert found.kept == 8 and found.contrast["pairs"] == 0
    assert found.lengths and found.lengths.chosen_longer == 0.0
    assert found.lengths.chosen_tokens > 0 and found.lengths.rejected_tokens > 0


# Training


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


LOSSES: list[Loss] = [Kto(), ApoZeroUnpaired(), Bco()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_single_answers_train_as_their_pairs(tmp_path: Path, model: Path, loss: Loss) -> None:
    """A pair's loss is the sum of its sides', so a step has half of the gradient."""
    pairs, asked = tiny.pairs(6), {"loss": loss, "max_grad_norm": 1e9}
    paired = tiny.train(tmp_path / "pairs", model, pairs, batch_size=6, epochs=2, **asked)
    alone = tiny.train(tmp_path / "alone", model, singles(pairs), batch_size=12, epochs=2, **asked)
    assert alone[0]["grad_norm"] == pytest.approx(paired[0]["grad_norm"] / 2, rel=1e-4)
    assert alone[0]["loss"] == pytest.approx(paired[0]["loss"] / 2, rel=1e-5)
    for name in ("logps/chosen", "logps/rejected", "rewards/chosen", "rewards/margins"):
        assert alone[1][name] == pytest.approx(paired[1][name], rel=1e-3, abs=1e-3)
    assert alone[0]["share/chosen"] == alone[0]["share/rejected"] == 0.5
    assert "rewards/accuracies" not in alone[0]


def some_of_each(count: int) -> list[Pair]:
    """Good answers, bad ones and pairs, in no proportion."""
    pairs = tiny.pairs(count)
    cut = [
        pair if number % 4 == 0 else single(pair, number % 3 == 0)
        for number, pair in enumerate(pairs)
    ]
    return [attrs.evolve(pair, id=f"{number}") for number, pair in enumerate(cut)]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_how_a_step_is_cut_changes_nothing(tmp_path: Path, model: Path, loss: Loss) -> None:
    rows, asked = some_of_each(13), {"loss": loss, "epochs": 2}
    whole = tiny.train(tmp_path / "whole", model, rows, micro_tokens=10_000, **asked)
    cut = tiny.train(tmp_path / "cut", model, rows, micro_tokens=60, **asked)
    for line, other in zip(whole, cut, strict=True):
        same = {name for name in line if name not in (*TIMING, "padding")}
        assert {name: line[name] for name in same} == pytest.approx(
            {name: other[name] for name in same}, rel=1e-3, abs=1e-4
        )


class Stop(Exception):
    """Ends a training as a crash does."""


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_a_resumed_training_is_the_same_to_the_bit(tmp_path: Path, model: Path, loss: Loss) -> None:
    asked: dict[str, Any] = {"loss": loss, "epochs": 3, "batch_size": 5, "checkpoint_every": 2}
    asked |= {"scheduler": tiny.Mixed()}
    rows = some_of_each(13)
    tiny.train(tmp_path / "whole", model, rows, **asked)

    def stop(event: str, **facts: Any) -> None:
        if event == "cpt_step_ended" and facts["step"] == 5:
            raise Stop

    with pytest.raises(Stop):
        tiny.train(tmp_path / "broken", model, rows, notify=stop, **asked)
    tiny.train(tmp_path / "broken", model, rows, **asked)
    traces = [
        [{name: line[name] for name in line if name not in TIMING} for line in tiny.read(folder)]
        for folder in (tmp_path / "whole", tmp_path / "broken")
    ]
    assert traces[0] == traces[1]
    one, other = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "broken")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_step_may_have_good_answers_alone(tmp_path: Path, model: Path) -> None:
    rows = [single(pair, number < 4) for number, pair in enumerate(tiny.pairs(8))]
    lines = tiny.train(tmp_path, model, rows, loss=Kto(), batch_size=4)
    assert "rewards/rejected" not in lines[0] and "rewards/chosen" not in lines[1]
    assert lines[0]["share/chosen"] == 1.0 and lines[1]["share/chosen"] == 0.0


def test_sft_takes_the_good_ones(tmp_path: Path, model: Path) -> None:
    rows = some_of_each(12)
    lines = tiny.train(tmp_path / "all", model, rows, loss=Sft(), epochs=8)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    summary = json.loads((tmp_path / "all/training.json").read_text())
    bad = sum(row.label is False for row in rows)
    assert summary["dropped"] == {"one_answer": bad} and summary["pairs"] == 12 - bad
    good = [row for row in rows if row.label is not False]
    same = tiny.train(tmp_path / "good", model, good, loss=Sft(), epochs=8)
    assert same[-1]["loss"] == lines[-1]["loss"]


def test_a_loss_that_compares_two_leaves_them_out_or_says_so(tmp_path: Path, model: Path) -> None:
    rows = some_of_each(12)
    tiny.train(tmp_path, model, rows)
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["pairs"] == 3 and summary["dropped"] == {"one_answer": 9}
    with pytest.raises(CptError, match="one_answer: a single answer, which this loss") as refused:
        tiny.train(tmp_path / "none", model, singles(tiny.pairs(2)))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "none").exists()


def test_the_command_line_takes_them(tmp_path: Path, model: Path, cpt_cli: Any) -> None:
    rows = [
        {"prompt": pair.prompt.text, "completion": answer.text, "label": label}
        for pair in tiny.pairs(3)
        for answer, label in ((pair.chosen, True), (pair.rejected, False))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["train", "--pairs", str(tmp_path / "rows.jsonl"), "--model", str(model)]
    output = ["--output", str(tmp_path / "run"), "--train.batch-size", "2"]
    made = cpt_cli("-p", "cpt_losses", *line, *output, "--loss", "kto+0.1*sft")
    assert made.exit_code == 0, made.output
    assert (tmp_path / "run/report.html").exists()
    refused = cpt_cli(*line, "--output", str(tmp_path / "no"), "--loss", "dpo")
    assert refused.exit_code == 2
    assert "None of the 6 pairs can be trained on (one_answer 6)" in refused.stderr
