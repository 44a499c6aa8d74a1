"""Held-out pairs: kept out of training, and whether a model prefers what they prefer."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cpt
from cpt.data import read_pairs
from cpt.run.stages.holdout import number_of, split
from cpt.statistics import wilson
from cpt.testing import EvaluatorContract, Scripted, fake_pairs
from cpt_preferences.accuracy import PreferenceAccuracy
from cpt_preferences.intervals import proportion
from cpt_preferences.rewards import Reward

from . import tiny
from .commands import Commands


@attrs.frozen
class Weighty(Scripted):
    """Has weights."""

    model: str = "weights"


def logps_of(pairs: Any, model: str) -> dict[str, cpt.PairLogps | cpt.Missing]:
    """Those of a model that prefers the chosen answers of odd pairs, and of its reference."""
    gap = {"weights": 1.0, "reference": 0.0}[model]
    return {
        pair.id: cpt.PairLogps(
            chosen=-9.0 + gap * (number % 2),
            rejected=-9.0 + gap * (1 - number % 2),
            chosen_tokens=3,
            rejected_tokens=4,
        )
        for number, pair in enumerate(pairs)
    }


class TestPreferenceAccuracy(EvaluatorContract):
    component = PreferenceAccuracy()

    def evaluation(self) -> cpt.Evaluation:
        return cpt.Evaluation(
            model=Weighty(),
            base=Weighty(),
            reference="reference",
            pairs=fake_pairs(12),
            reward_scale=0.5,
            logps_of=logps_of,
        )

    async def test_rewards_are_scaled_log_ratios(self) -> None:
        found = await PreferenceAccuracy().measure(self.evaluation(), self.ask())
        assert found["accuracy"].value == 0.5
        assert set(found["margin"].each.values()) == {0.5, -0.5}
        assert found["chosen"].value == found["rejected"].value == 0.25
        assert set(found["margin_per_token"].each.values()) == {0.5 / 3, -0.5 / 4}
        assert found["accuracy/tier-1"].n + found["accuracy/tier-2"].n == 12
        assert not any("source" in name for name in found), "all pairs are of one source"


def reward(name: str, gap: float, prompt: str = "") -> Reward:
    pair = attrs.evolve(tiny.pair(prompt or name, "a", "b"), id=name)
    ours = cpt.PairLogps(chosen=gap, rejected=0.0, chosen_tokens=1, rejected_tokens=1)
    none = attrs.evolve(ours, chosen=0.0)
    return Reward(pair, ours, none, 1.0)


def test_ties_count_half_and_nothing_is_invented_of_one_prompt() -> None:
    tied = proportion([reward(str(number), 0.0) for number in range(4)], Reward.wins)
    assert (tied.value, tied.low, tied.high) == (0.5, 0.5, 0.5)
    one = proportion([reward("a", 1.0, "same"), reward("b", 1.0, "same")], Reward.wins)
    assert (one.value, one.low, one.high) == (1.0, 0.0, 1.0)
    all_won = proportion([reward(str(number), 1.0) for number in range(20)], Reward.wins)
    assert all_won.value == all_won.high == 1.0
    assert all_won.low == pytest.approx(0.8389, abs=1e-3)  # Wilson for 20 of 20


def test_intervals_cover_what_they_say_with_pairs_that_depend_on_each_other() -> None:
    drawn, covered = random.Random(3), 0
    won, lost = (
        [[reward(f"{gap}/{p}/{n}", gap, str(p)) for n in range(2)] for p in range(40)]
        for gap in (1.0, -1.0)
    )
    for _ in range(1000):
        rewards = []
        for prompt in range(40):
            share = drawn.choice((0.9, 0.3))  # pairs of one prompt are won or lost together
            for number in range(2):
                rewards.append((won if drawn.random() < share else lost)[prompt][number])
        score = proportion(rewards, Reward.wins)
        covered += score.low <= 0.6 <= score.high
    assert 930 <= covered <= 970


@given(st.floats(0, 1), st.floats(1, 1e6))
def test_wilson_holds_its_share(share: float, size: float) -> None:
    low, high = wilson(share, size)
    assert 0 <= low <= share <= high <= 1


@given(st.integers(2, 60), st.floats(0, 0.9), st.integers(0, 9))
def test_a_split_is_by_prompt_and_does_not_depend_on_the_others(
    count: int, share: float, seed: int
) -> None:
    pairs = [*tiny.ladder(count, seed=seed)]
    kept, held = split(pairs, share)
    assert kept and sorted(p.id for p in [*kept, *held]) == sorted(p.id for p in pairs)
    assert not {number_of(p.prompt) for p in kept} & {number_of(p.prompt) for p in held}
    assert bool(held) is (share > 0)
    fewer = split(pairs[::2], share)[1]
    below = {p.id for p in held if number_of(p.prompt) <= share}
    assert {p.id for p in fewer if number_of(p.prompt) <= share} == below & {
        p.id for p in pairs[::2]
    }


def test_pairs_of_one_prompt_cannot_be_held_out() -> None:
    with pytest.raises(cpt.CptError, match="same prompt"):
        split(tiny.ladder(1), 0.1)


# On the command line


@pytest.fixture(scope="module")
def trained(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose own pairs were partly held out, and pairs of others."""
    folder = tmp_path_factory.mktemp("trained")
    tiny.folder(folder / "base", initializer_range=0.3)
    rows = [
        {"prompt": f"q {row}", "chosen": f"ab {row}", "rejected": f"cd {row}"} for row in range(40)
    ]
    others = [{**row, "prompt": f"other {row['prompt']}"} for row in rows[:9]]
    for name, written in (("pairs", rows), ("others", others)):
        text = "".join(json.dumps(row) + "\n" for row in written)
        (folder / f"{name}.jsonl").write_text(text)
    line = (
        "--pairs pairs.jsonl --model base --train.batch-size 4 --train.learning-rate 1e-2 "
        "--output run --evaluators preference_accuracy --holdout 0.2 --train.device cpu"
    )
    done = commands.one(*line.split(), cwd=folder)
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def cli(trained: Path, monkeypatch: pytest.MonkeyPatch, cpt_cli: Any) -> Callable[..., Any]:
    monkeypatch.chdir(trained)
    return lambda line: cpt_cli(*line.split())


def test_the_model_before_training_has_no_rewards_and_the_trained_one_has(trained: Path) -> None:
    plain = json.loads((trained / "run/scores.json").read_text())["scores"]
    before, after = (
        {name.partition("/")[2]: score for name, score in plain[who].items()}
        for who in ("before", "after")
    )
    assert before["accuracy"]["value"] == 0.5
    assert set(before["margin"]["each"].values()) == {0.0}
    assert after["accuracy"]["value"] == 1.0 and after["margin"]["value"] > 0
    held_out = read_pairs(trained / "run/held_out.parquet")
    assert after["accuracy"]["n"] == len(held_out) > 2
    order = {row["pair"] for row in cpt.open_run(trained / "run").order}
    assert order and not order & {pair.id for pair in held_out}


def test_given_pairs_are_measured_instead(
    trained: Path, cli: Any, caplog: pytest.LogCaptureFixture
) -> None:
    line = "eval --output run --evaluators preference_accuracy --eval-pairs others.jsonl --redo"
    printed = cli(f"{line} --json")
    assert printed.exit_code == 0, printed.output
    score = json.loads(printed.stdout)["scores"]["after"]["preference_accuracy/accuracy"]
    assert {"value", "low", "high", "n", "of"} <= score.keys()
    assert score["n"] == score["of"] == 9
    assert math.isfinite(score["low"])
    assert cli(f"{line.replace('others', 'pairs')} --json").exit_code == 0
    assert "of 40 pairs to measure on have a prompt that was trained on" in caplog.text


def test_scores_do_not_outlive_the_model_that_they_are_of(
    tmp_path: Path, trained: Path, cli: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    line = f"train --pairs pairs.jsonl --model base --holdout 0.2 --output {run} --redo"
    same = "--train.batch-size 4 --train.learning-rate 1e-2 --train.device cpu"
    assert cli(f"{line} {same}").exit_code == 0
    assert (run / "scores.json").exists()  # it is the same model
    again = cli(f"{line} {same} --seed 5")
    assert again.exit_code == 0, again.output
    assert "the scores were of another model and are gone" in caplog.text
    gate = cli(f"gate {run} --require preference_accuracy/accuracy>=0")
    assert (gate.exit_code, "`cpt eval` writes it" in gate.stderr) == (2, True)


def test_without_pairs_it_is_one_line_that_says_what_to_give(
    tmp_path: Path, trained: Path, cli: Any
) -> None:
    trained_without = f"train --pairs pairs.jsonl --model base --output {tmp_path}/run"
    assert cli(trained_without).exit_code == 0
    failed = cli(f"eval --output {tmp_path}/run --evaluators preference_accuracy")
    assert failed.exit_code == 2
    assert "--eval-pairs FILE gives some" in failed.stderr
