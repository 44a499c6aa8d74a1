"""The learning rate: what it is multiplied by at each step, by transformers' names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from cpt import CptError
from cpt.training.optimizer.schedule import factor
from cpt.training.options import Training

from . import tiny

TAKEN: dict[str, dict[str, Any]] = {
    "cosine": {"num_cycles": 0.25},
    "cosine_with_min_lr": {"min_lr_rate": 0.2},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-7},
    "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"power": 2.0, "lr_end": 1e-8},
    "inverse_sqrt": {"timescale": 7},
    "warmup_stable_decay": {"num_decay_steps": 5, "decay_type": "1-sqrt", "min_lr_ratio": 0.1},
}


@given(
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.9),
    schedule=st.sampled_from(["linear", "cosine", "constant"]),
)
def test_the_learning_rate_rises_then_falls_and_is_never_zero(
    steps: int, warmup: float, schedule: Any
) -> None:
    options = Training(warmup=warmup, lr_schedule=schedule)
    rates = [factor(number, steps, options) for number in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0) and min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert top <= max(0, round(warmup * steps))


def test_the_schedules_are_those_of_their_names() -> None:
    def factors(schedule: Any) -> list[float]:
        options = Training(warmup=0.2, lr_schedule=schedule)
        return [round(factor(number, 10, options), 4) for number in range(10)]

    assert factors("constant") == [0.5] + [1.0] * 9
    assert factors("linear") == [0.5, 1.0, *(round(1 - at / 8, 4) for at in range(8))]
    half = [round((1 + math.cos(math.pi * at / 8)) / 2, 4) for at in range(8)]
    assert factors("cosine") == [0.5, 1.0, *half]


@pytest.mark.parametrize("name", TAKEN)
def test_after_the_warmup_the_rates_are_those_of_transformers(name: Any) -> None:
    options = Training(warmup=0.1, lr_schedule=name, lr_schedule_kwargs=TAKEN[name])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=options.learning_rate)
    theirs = get_scheduler(name, optimizer, 3, 30, scheduler_specific_kwargs=TAKEN[name])
    rates = [factor(step, 30, options) for step in range(30)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[3:] == [theirs.lr_lambdas[0](step) for step in range(3, 30)]


def test_without_more_the_rate_is_kept_and_falls_in_the_last_tenth() -> None:
    options = Training(warmup=0.0, lr_schedule="warmup_stable_decay")
    rates = [factor(step, 30, options) for step in range(30)]
    assert rates[:28] == [1.0] * 28 and 0 < rates[29] < rates[28] < 1
    least = Training(lr_schedule="cosine_with_min_lr")
    assert factor(29, 30, least) == pytest.approx(0.1, abs=0.01)


def test_what_a_schedule_does_not_take_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be empty, as linear takes nothing"):
        Training(lr_schedule_kwargs={"power": 2})
    model = tiny.folder(tmp_path / "base")
    wrong = {"lr_schedule": "polynomial", "lr_schedule_kwargs": {"pover": [2.0]}}
    with pytest.raises(CptError, match=r"lr_schedule_kwargs: polynomial .*pover"):
        tiny.train(tmp_path / "run", model, tiny.pairs(4), **wrong)
    assert not (tmp_path / "run").exists()


def test_a_resumed_training_goes_on_with_the_same_rates(tmp_path: Path) -> None:
    def stop(event: str, **facts: Any) -> None:
        if facts.get("step") == 3:
            raise InterruptedError

    model = tiny.folder(tmp_path / "base")
    asked: dict[str, Any] = {"batch_size": 2, "checkpoint_every": 2, "log_every": 1}
    asked |= {"lr_schedule": "inverse_sqrt", "lr_schedule_kwargs": {"timescale": 2}}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    tiny.train(whole, model, tiny.pairs(10), **asked)
    with pytest.raises(InterruptedError):
        tiny.train(broken, model, tiny.pairs(10), notify=stop, **asked)
    tiny.train(broken, model, tiny.pairs(10), **asked)
    rates = [[line["learning_rate"] for line in tiny.read(run)] for run in (whole, broken)]
    assert rates[0] == rates[1] and len(set(rates[0])) == 5
    assert json.loads((whole / "training.json").read_text())["steps"] == 5
