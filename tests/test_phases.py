"""Trainings that look at their model as they go, and order what follows by what they see."""

from __future__ import annotations

import math
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import pyarrow.parquet as pq
import pytest

from cpt import CptError, Pair, PairLogps, Phase, PhasedScheduler
from cpt.likelihood import Reading, log_probabilities
from cpt_curriculum.ordering import CurriDpo
from cpt_curriculum.pacing import Selective, SelfPaced
from cpt_dpo import Dpo
from cpt_losses.pointwise import Kto
from cpt_slic import Sft

from . import tiny
from .test_resume import assert_same
from .training_process import Trainings

LEVEL = {"lr_schedule": "constant", "warmup": 0.0, "batch_size": 4, "learning_rate": 5e-3}
"""The first steps of a long training are those of a short one."""
PAIRS = [
    attrs.evolve(pair, margin=float(at % 5), tier=1 + at % 3)
    for at, pair in enumerate([*tiny.pairs(8), *tiny.ladder(4)])
]


SEEN: list[Any] = []
"""All scores that `InTurn` was given."""


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


@attrs.frozen
class InTurn(PhasedScheduler):
    """The pairs as they come, in phases that are given; `SEEN` keeps their scores."""

    name = "in_turn"
    given: tuple[Phase, ...] = ()
    """The phases."""

    def phases(self, pairs: Sequence[Pair], size: int, epochs: int) -> Sequence[Phase]:
        return self.given

    def ordered(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int, scores: Any
    ) -> Iterator[Sequence[int]]:
        SEEN.append(scores)
        for step in range(sum(phase.steps for phase in self.given)):
            yield [(step * size + at) % len(pairs) for at in range(size)]


def in_turn(*phases: Phase) -> InTurn:
    return InTurn(given=phases)


def logps(pairs: Sequence[Pair], folder: Path) -> list[PairLogps]:
    found = log_probabilities(pairs, folder, Reading(device="cpu")).values()
    assert all(isinstance(logps, PairLogps) for logps in found)
    return cast(list[PairLogps], list(found))


def margins(model: Path, base: Path) -> list[float]:
    """The rewards' margin of each pair under DPO's default."""
    return [
        Dpo().beta * (now.chosen - before.chosen - (now.rejected - before.rejected))
        for now, before in zip(logps(PAIRS, model), logps(PAIRS, base), strict=True)
    ]


def test_scores_are_those_of_the_model_as_the_phase_begins(tmp_path: Path, model: Path) -> None:
    asked: dict[str, Any] = {"loss": Dpo(), **LEVEL}
    short, long = (
        in_turn(Phase(steps=3)),
        in_turn(
            Phase(steps=3), Phase(steps=2, score="rewards/margins"), Phase(steps=1, score="loss")
        ),
    )
    tiny.train(tmp_path / "short", model, PAIRS, scheduler=short, **asked)
    tiny.train(tmp_path / "long", model, PAIRS, scheduler=long, **asked)
    nothing = [0.0] * len(PAIRS)
    first, second, third = SEEN[-1]
    assert first == nothing
    assert second == pytest.approx(margins(tmp_path / "short" / "model", model), abs=2e-4)
    assert max(second) - min(second) > 0.1
    assert all(score > 0 for score in third)
    assert SEEN[-2] == [first, second, nothing]
    written = pq.read_table(tmp_path / "long" / "order.parquet").to_pydict()
    assert written["score"][:12] == [None] * 12
    expected = [second[(12 + at) % len(PAIRS)] for at in range(8)]
    assert written["score"][12:20] == pytest.approx(expected)


def test_a_renewed_reference_is_the_model_as_the_phase_begins(tmp_path: Path, model: Path) -> None:
    """Its log-ratios start from 0 again, and from that model's log-probabilities."""
    asked: dict[str, Any] = {"loss": Dpo(), "held_out": PAIRS[:3], "eval_every": 1, **LEVEL}
    tiny.train(tmp_path / "short", model, PAIRS, scheduler=in_turn(Phase(steps=3)), **asked)
    renewed = in_turn(Phase(steps=3), Phase(steps=3, refresh=True))
    lines = tiny.train(tmp_path / "long", model, PAIRS, scheduler=renewed, **asked)
    losses = [line["loss"] for line in lines]
    assert losses[0] == losses[3] == pytest.approx(math.log(2))
    assert losses[2] != pytest.approx(math.log(2), abs=1e-3)
    assert lines[3]["logratios/chosen"] == 0.0 and lines[4]["logratios/chosen"] != 0.0
    now, start, middle = (
        [pair.chosen for pair in logps(PAIRS[:3], folder)]
        for folder in (tmp_path / "long" / "model", model, tmp_path / "short" / "model")
    )
    mean = (sum(now) - sum(middle)) / 3
    assert lines[5]["eval/logratios/chosen"] == pytest.approx(mean, abs=1e-3)
    assert sum(start) != pytest.approx(sum(middle), abs=0.1)


SCHEDULERS = {
    "curri_dpo": "cpt_curriculum.ordering:CurriDpo",
    "self_paced": "cpt_curriculum.pacing:SelfPaced",
    "sorted": "cpt_curriculum.ordering:Sorted",
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_killed_at_any_step_it_is_the_training_that_was_not(
    tmp_path: Path, trainings: Trainings, model: Path, name: str
) -> None:
    asked: dict[str, Any] = {"pairs": 15, "batch_size": 3, "checkpoint_every": 2, "log_every": 1}
    asked |= {"scheduler": SCHEDULERS[name], "loss": "cpt_dpo:Dpo", "learning_rate": 5e-3}
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert trainings(model, whole, **asked) == [0]
    steps = tiny.read(whole)[-1]["step"]
    for step in sorted(random.Random(7).sample(range(1, steps), 2)):
        die = [signal.SIGKILL, "cpt_step_ended", step]
        assert trainings(model, run, die=die, **asked) == [-signal.SIGKILL]
    assert trainings(model, run, **asked) == [0]
    assert_same(run, whole)
    orders = [pq.read_table(folder / "order.parquet").to_pydict() for folder in (run, whole)]
    assert orders[0] == orders[1] and len(orders[0]["step"]) == 21


@pytest.mark.parametrize("name", ["curri_dpo", "self_paced"])
def test_two_processes_follow_the_same_model(
    tmp_path: Path, trainings: Trainings, model: Path, name: str
) -> None:
    asked: dict[str, Any] = {"pairs": 6, "batch_size": 3, "loss": "cpt_dpo:Dpo"}
    asked |= {"scheduler": SCHEDULERS[name]}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    assert trainings(model, tmp_path / "two", processes=2, **asked) == [0, 0]
    one, two = (tiny.read(tmp_path / run) for run in ("one", "two"))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-5)


def broken_off(folder: Path, model: Path, scheduler: PhasedScheduler, step: int) -> None:
    def stop(event: str, **facts: Any) -> None:
        if (event, facts.get("step")) == ("cpt_step_ended", step):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(folder, model, scheduler, notify=stop)


def train(folder: Path, model: Path, scheduler: PhasedScheduler, **asked: Any) -> Sequence[Any]:
    given = {"loss": Dpo(), "checkpoint_every": 100, **LEVEL, **asked}
    return tiny.train(folder, model, PAIRS, scheduler=scheduler, **given)


def test_nothing_is_measured_twice(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phase saves as it begins: its scores and its reference are those that were computed."""
    from cpt.training import phases

    both = (
        Phase(steps=2),
        Phase(steps=4, score="loss", refresh=True),
    )
    measured: list[Any] = []
    measure = vars(phases)["measure_each"]

    def counted(state: Any, metric: str, pairs: int) -> list[float]:
        measured.append(pairs)
        return measure(state, metric, pairs)

    monkeypatch.setattr(phases, "measure_each", counted)
    train(tmp_path / "whole", model, in_turn(*both))
    broken_off(tmp_path / "run", model, in_turn(*both), 4)
    events: list[str] = []
    train(
        tmp_path / "run",
        model,
        in_turn(*both),
        notify=lambda event, **facts: events.append(event),
    )
    assert measured == [1, len(PAIRS)] * 2  # one pair at the start, whether there is such a metric
    assert events.count("cpt_step_ended") == 4
    assert "cpt_references_computed" not in events
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_reference_that_is_gone_is_one_line(tmp_path: Path, model: Path) -> None:
    renewed = in_turn(Phase(steps=2), Phase(steps=3, refresh=True))
    broken_off(tmp_path, model, renewed, 4)
    shutil.rmtree(tmp_path / "reference")
    with pytest.raises(CptError, match="values of the model that this phase began with are miss"):
        train(tmp_path, model, renewed)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"scheduler": SelfPaced(), "loss": Sft()}, "by 'rewards/margins', which the loss 'sft'"),
        ({"scheduler": SelfPaced(), "loss": Kto()}, "'kto' compares with the answers of other"),
        (
            {"scheduler": CurriDpo(), "eval_every": 2, "keep_best": "eval/loss"},
            "keep_best compares steps by eval/loss, but the scheduler 'curri_dpo'",
        ),
        ({"scheduler": Selective(), "batch_size": 64}, "there are 20, and train.batch_size is 64"),
        (
            {"scheduler": in_turn(Phase(steps=2), Phase(steps=0))},
            r"phases of \[2, 0\] steps for a training of 2",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_the_first_step(
    tmp_path: Path, model: Path, asked: dict[str, Any], message: str
) -> None:
    asked = {"loss": Dpo(), "batch_size": 4, "held_out": PAIRS[:2], **asked}
    with pytest.raises(CptError, match=message):
        tiny.train(tmp_path, model, PAIRS, **asked)
    assert not (tmp_path / "metrics.jsonl").exists() or not tiny.read(tmp_path)


@attrs.frozen
class Rewrites(InTurn):
    """Gives other batches once it knows the scores."""

    name = "rewrites"

    def ordered(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int, scores: Any
    ) -> Iterator[Sequence[int]]:
        shift = int(any(scores[1]))
        for step in range(4):
            yield [(step + at + shift) % len(pairs) for at in range(size)]


def test_a_scheduler_that_rewrites_the_past_is_caught(tmp_path: Path, model: Path) -> None:
    scheduler = Rewrites(given=(Phase(steps=2), Phase(steps=2, score="loss")))
    with pytest.raises(CptError, match="gives other batches for the first 2 steps now that they"):
        train(tmp_path, model, scheduler)
