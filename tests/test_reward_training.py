"""A reward model trained from pairs: the judge `reward_model` reads what training computed."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoTokenizer

import cpt
from cpt.asking import Asker
from cpt.testing import MonotoneLossContract, fake_batch
from cpt_judges.reward_model import RewardModel
from cpt_losses.reward import BradleyTerry

from . import tiny

PAIRS = [
    tiny.pair(f"question {row}", "a" * (4 + row % 5), "d" * (3 + row % 4), id=f"p{row}")
    for row in range(24)
]


class TestBradleyTerry(MonotoneLossContract):
    component = BradleyTerry()


class TestBradleyTerryWithAll(MonotoneLossContract):
    component = BradleyTerry(margin=0.5, centre=0.01)
    breaks: ClassVar = {
        "test_the_rejected_is_never_encouraged": "scores are kept near 0",
    }


def test_the_loss_is_that_of_bradley_and_terry():
    batch = fake_batch(needs=BradleyTerry.needs)
    chosen, rejected = batch.chosen.score, batch.rejected.score
    expected = torch.log1p(torch.exp(rejected - chosen))
    torch.testing.assert_close(BradleyTerry()(batch), expected)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("base"))


def train(output: Path, base: Path, **asked: Any) -> list[dict[str, Any]]:
    given = {"learning_rate": 3e-3, "epochs": 6, "loss": BradleyTerry(), **asked}
    return list(tiny.train(output, base, PAIRS, **given))


@pytest.mark.parametrize("more", [{}, {"lora_rank": 4}])
def test_a_trained_reward_model_judges_as_it_was_trained(
    base: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    lines = train(tmp_path, base, **more)
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert lines[-1]["rewards/accuracies"] > 0.9 > lines[-1]["loss"]
    assert not any(name.startswith("logps/") for name in lines[-1])
    gaps = {pair.id: scores(tmp_path / "model", pair) for pair in PAIRS}
    assert all(chosen > rejected for chosen, rejected in gaps.values())


def test_the_judge_reads_the_score_that_training_computed(base: Path, tmp_path: Path) -> None:
    lines = train(tmp_path, base, held_out=PAIRS, eval_every=1)
    both = [scores(tmp_path / "model", pair) for pair in PAIRS]
    for side, at in (("chosen", 0), ("rejected", 1)):
        mean = sum(pair[at] for pair in both) / len(both)
        assert mean == pytest.approx(lines[-1][f"eval/rewards/{side}"], abs=1e-4)


def scores(model: Path, pair: cpt.Pair) -> tuple[float, float]:
    async def ask() -> cpt.Verdict:
        async with Asker(None, progress=False) as ask:
            judge = RewardModel(model=str(model), device="cpu")
            return await judge.judge(pair.prompt, [pair.chosen, pair.rejected], ask)

    chosen, rejected = asyncio.run(ask()).scores
    assert chosen is not None and rejected is not None
    return chosen, rejected


def test_a_killed_training_of_a_reward_model_goes_on_bit_for_bit(
    base: Path, tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole", base, checkpoint_every=5)

    def stop(event: str, **facts: Any) -> None:
        if event == "cpt_step_ended" and facts["step"] == 7:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        train(tmp_path / "killed", base, checkpoint_every=5, notify=stop)
    resumed = train(tmp_path / "killed", base, checkpoint_every=5)
    timing = ("seconds", "tokens_per_second")
    plain = [{name: line[name] for name in line if name not in timing} for line in whole]
    assert [{name: line[name] for name in line if name not in timing} for line in resumed] == plain
    weights = [tmp_path / run / "model" / "model.safetensors" for run in ("whole", "killed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_base_without_a_template_gives_a_judge_with_one(tmp_path: Path) -> None:
    bare = tiny.folder(tmp_path / "bare")
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    assert not AutoTokenizer.from_pretrained(bare).chat_template
    lines = train(tmp_path / "run", bare, held_out=PAIRS, eval_every=1)
    chosen = [scores(tmp_path / "run" / "model", pair)[0] for pair in PAIRS]
    assert sum(chosen) / len(chosen) == pytest.approx(lines[-1]["eval/rewards/chosen"], abs=1e-4)


def test_a_loss_that_wants_scores_and_log_probabilities_is_refused(
    base: Path, tmp_path: Path
) -> None:
    class Both(BradleyTerry):
        name = "both"
        needs: ClassVar = frozenset({"rejected", "score", "reference"})

    with pytest.raises(cpt.CptError, match="a reward model is trained, which has no 'reference'"):
        train(tmp_path / "run", base, loss=Both())
