"""A training that is killed and taken up again is the training that was never killed."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Self

import attrs
import pytest
import torch
from safetensors.torch import load_file

from cpt import CptError, Pair
from cpt.training.data import prepare
from cpt.training.loss.metrics import TIMING
from cpt.training.output import checkpoint

from . import tiny
from .training_process import Trainings

OPTIONS = {"epochs": 2, "batch_size": 5, "log_every": 2, "checkpoint_every": 3}
"""27 pairs twice are 12 steps; no multiple of 3 and 2 but 6 and 12 is both logged and saved."""
STEPS = 12


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "base"
    return tiny.folder(folder, tie_word_embeddings=True)


@pytest.fixture(scope="module")
def unbroken(trainings: Trainings, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert trainings(model, folder, **OPTIONS) == [0]
    return folder


def trace(folder: Path) -> list[str]:
    """The lines of metrics to the last bit, without what a clock measured."""
    lines = tiny.read(folder)
    return [
        json.dumps({name: value for name, value in line.items() if name not in TIMING})
        for line in lines
    ]


def steps(folder: Path) -> list[int]:
    return [line["step"] for line in tiny.read(folder)]


def assert_same(run: Path, other: Path) -> None:
    assert trace(run) == trace(other)
    weights = load_file(run / "model" / "model.safetensors")
    for name, weight in load_file(other / "model" / "model.safetensors").items():
        assert torch.equal(weights[name], weight), name


def test_killed_at_random_steps(
    tmp_path: Path, trainings: Trainings, model: Path, unbroken: Path
) -> None:
    random_ = random.Random(11)
    deaths = sorted(random_.sample(range(1, STEPS), 3))
    for step in deaths:
        die = [signal.SIGKILL, "cpt_step_ended", step]
        assert trainings(model, tmp_path, die=die, **OPTIONS) == [-signal.SIGKILL]
        assert not (tmp_path / "model").exists()
    assert trainings(model, tmp_path, **OPTIONS) == [0]
    assert len(trace(unbroken)) == STEPS / 2
    assert_same(tmp_path, unbroken)


@pytest.mark.parametrize("event", ["publish", "cpt_checkpoint_saved"])
def test_killed_while_a_checkpoint_is_written(
    tmp_path: Path, trainings: Trainings, model: Path, unbroken: Path, event: str
) -> None:
    die = [signal.SIGKILL, event, 6]
    assert trainings(model, tmp_path, die=die, **OPTIONS) == [-signal.SIGKILL]
    there = [folder.name for folder in (tmp_path / "checkpoints").glob("step-*")]
    assert ("step-00000006" in there) is (event == "cpt_checkpoint_saved")
    assert trainings(model, tmp_path, **OPTIONS) == [0]
    assert_same(tmp_path, unbroken)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_politely_it_saves_what_it_has(
    tmp_path: Path, trainings: Trainings, model: Path, unbroken: Path, name: str
) -> None:
    die = [signal.Signals[name], "cpt_step_ended", 5]
    noted = tmp_path / "noted"
    assert trainings(model, tmp_path, die=die, note=str(noted), **OPTIONS) == [130]
    events = [line.split()[1] for line in noted.read_text().splitlines()]
    assert events[-2:] == ["cpt_step_ended", "cpt_checkpoint_saved"]
    assert sorted((tmp_path / "checkpoints").iterdir())[-1].name == "step-00000005"
    assert trainings(model, tmp_path, **OPTIONS) == [0]
    assert_same(tmp_path, unbroken)


def test_two_processes_are_killed_and_taken_up_by_two(
    tmp_path: Path, trainings: Trainings, model: Path
) -> None:
    small = {**OPTIONS, "pairs": 4, "epochs": 1, "processes": 2}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert trainings(model, whole, **small) == [0, 0]
    die = [signal.SIGINT, "cpt_step_ended", 1]
    assert trainings(model, broken, **small, die=die) == [130, 130]
    assert trainings(model, broken, **small) == [0, 0]
    assert steps(broken) == steps(whole)
    for line, other in zip(tiny.read(broken), tiny.read(whole), strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-5)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_takes_a_training_up(
    tmp_path: Path, trainings: Trainings, model: Path, before: int, after: int
) -> None:
    small = {**OPTIONS, "pairs": 4, "epochs": 1}
    assert trainings(model, tmp_path / "whole", **small) == [0]
    run = tmp_path / "run"
    die = [signal.SIGINT, "cpt_step_ended", 1]
    assert trainings(model, run, **small, processes=before, die=die) == [130] * before
    assert trainings(model, run, **small, processes=after) == [0] * after
    lines, unbroken = tiny.read(run), tiny.read(tmp_path / "whole")
    assert [line["loss"] for line in lines] == pytest.approx(
        [line["loss"] for line in unbroken], rel=1e-5
    )


def test_a_process_that_fails_ends_all(tmp_path: Path, trainings: Trainings, model: Path) -> None:
    small = {**OPTIONS, "pairs": 4, "epochs": 1, "loss": "FailsInSecond"}
    assert trainings(model, tmp_path, **small, processes=2) == [1, 1]


def test_lines_behind_the_checkpoint_and_half_ones_are_dropped(
    tmp_path: Path, trainings: Trainings, model: Path, unbroken: Path
) -> None:
    die = [signal.SIGKILL, "cpt_step_ended", 5]
    trainings(model, tmp_path, die=die, **OPTIONS)
    assert steps(tmp_path) == [2, 4]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    die = [signal.SIGKILL, "cpt_metrics_logged", 4]
    trainings(model, tmp_path, die=die, **OPTIONS)
    assert steps(tmp_path) == [2, 4]
    assert trace(tmp_path) == trace(unbroken)[:2]


def test_only_so_many_checkpoints_are_kept(
    tmp_path: Path, trainings: Trainings, model: Path, unbroken: Path
) -> None:
    assert sorted(folder.name for folder in (unbroken / "checkpoints").iterdir()) == [
        "step-00000009",
        "step-00000012",
    ]
    few = {**OPTIONS, "epochs": 1, "pairs": 9, "checkpoint_every": 1, "keep_checkpoints": 1}
    assert trainings(model, tmp_path, **few) == [0]
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_tied_weights_are_no_warning(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.train(tmp_path / "run", model, tiny.pairs(4), batch_size=2, checkpoint_every=1)
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    assert "shared tensor" not in caplog.text


def changed(**fields: Any) -> list[Pair]:
    """The pairs that were trained on, the last one with other fields."""
    *pairs, last = tiny.pairs(8)
    return [*pairs, attrs.evolve(last, **fields)]


@pytest.mark.parametrize(
    "other",
    [
        {"loss": tiny.Sigmoid(beta=0.2)},
        {"loss": tiny.ByToken()},
        {"given": tiny.pairs(7)},
        {"seed": 1, "scheduler": tiny.Mixed()},
        {"learning_rate": 1e-4},
        {"given": changed(weight=2.0)},
        {"given": changed(margin=1.0)},
        {"given": changed(tier=1)},
        {"given": changed(chosen_score=1.0)},
        {"given": changed(rejected_score=1.0)},
        {"given": changed(id="another")},
        {"given": changed(prompt=attrs.evolve(tiny.pairs(8)[-1].prompt, info={"topic": "x"}))},
    ],
    ids=str,
)
def test_another_training_in_the_same_folder_is_refused(
    tmp_path: Path, model: Path, other: dict[str, Any]
) -> None:
    def stop(event: str, **facts: Any) -> None:
        if facts.get("step") == 2:
            raise InterruptedError

    given = tiny.pairs(8)
    asked = {"batch_size": 2, "checkpoint_every": 1}
    with pytest.raises(InterruptedError):
        tiny.train(tmp_path, model, given, notify=stop, **asked)
    with pytest.raises(CptError, match="belongs to a training with other"):
        tiny.train(tmp_path, model, other.pop("given", given), **asked, **other)
    harmless = {
        **{"log_every": 2, "micro_tokens": 100, "keep_checkpoints": 1},
        **{"max_length": 500, "max_prompt_length": 400, "truncate": True},
    }
    given = [attrs.evolve(pair, rationale="?", info={"seen": 1}) for pair in given]
    assert len(tiny.train(tmp_path, model, given, **{**asked, **harmless})) > 1


def test_a_template_that_asks_for_the_date_gets_that_of_the_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: str, **facts: Any) -> None:
        if facts.get("step") == 2:
            raise InterruptedError

    def today(day: date) -> None:
        class Clock(date):
            @classmethod
            def today(cls) -> Self:
                return cls(day.year, day.month, day.day)

        monkeypatch.setattr(prepare, "date", Clock)

    model = tiny.folder(tmp_path / "base")
    dated = tiny.tokenizer(template="{{ strftime_now('%d %b %Y') }}" + tiny.CHATML)
    dated.save_pretrained(model)
    asked = {"batch_size": 2, "checkpoint_every": 1}
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder, began in ((first, date(2024, 12, 31)), (second, date(2025, 1, 1))):
        today(began)
        with pytest.raises(InterruptedError):
            tiny.train(folder, model, tiny.pairs(8), notify=stop, **asked)
    tiny.train(first, model, tiny.pairs(8), **asked)
    whole = tmp_path / "whole"
    today(date(2024, 12, 31))
    tiny.train(whole, model, tiny.pairs(8), **asked)
    assert_same(first, whole)
    tiny.train(second, model, tiny.pairs(8), **asked)
    assert trace(second) != trace(whole)


def test_lora_is_taken_up_again(tmp_path: Path, model: Path) -> None:
    def stop(event: str, **facts: Any) -> None:
        if facts.get("step") == 3:
            raise InterruptedError

    asked: dict[str, Any] = {"batch_size": 2, "checkpoint_every": 2, "lora_rank": 2}
    whole = tmp_path / "whole"
    tiny.train(whole, model, tiny.pairs(8), **asked)
    with pytest.raises(InterruptedError):
        tiny.train(tmp_path / "run", model, tiny.pairs(8), notify=stop, **asked)
    tiny.train(tmp_path / "run", model, tiny.pairs(8), **asked)
    assert_same(tmp_path / "run", whole)
    (saved,) = (tmp_path / "run" / "checkpoints").glob("*2/model.safetensors")
    assert all("lora" in name for name in load_file(saved))


def truncated(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


def changed_in_place(folder: Path) -> None:
    file = folder / "optimizer.bin"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)


def missing(folder: Path) -> None:
    (folder / "random_states_0.pkl").unlink()


def garbled(folder: Path) -> None:
    (folder / "state.json").write_bytes(b'\xff{"step": 6, "dig')


def of_another_kind(folder: Path) -> None:
    (folder / "state.json").write_text("[1, 2]")


def stray(folder: Path) -> None:
    """Beside a checkpoint: folders and a file with such names."""
    for name in ("step-00000099", "step-by-step", "step-00000007.old"):
        (folder.parent / name).mkdir()
    (folder.parent / "step-00000098").write_text("x")


@pytest.mark.parametrize(
    "damage", [truncated, changed_in_place, missing, garbled, of_another_kind, stray]
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    trainings: Trainings,
    model: Path,
    unbroken: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    killed = [signal.SIGKILL, "cpt_step_ended", 8]
    assert trainings(model, tmp_path, **OPTIONS, die=killed) == [-signal.SIGKILL]
    folder = tmp_path / "checkpoints"
    digest = json.loads((folder / "step-00000006" / "state.json").read_text())["digest"]
    damage(folder / "step-00000006")
    broken, intact = (99, 6) if damage is stray else (6, 3)
    checkpoint.latest(folder, digest)
    damaged, good = f"step-000000{broken:02}", f"step-0000000{intact}"
    assert caplog.messages == [f"{folder}: {damaged} is damaged; going on from {good}"]
    note = tmp_path / "note"
    assert trainings(model, tmp_path, **OPTIONS, note=str(note)) == [0]
    assert_same(tmp_path, unbroken)
    left = sorted(path.name for path in folder.iterdir() if path.is_dir())
    others = ["step-00000007.old", "step-by-step"] if damage is stray else []
    assert left == sorted(["step-00000009", "step-00000012", *others])
    assert note.read_text().count("cpt_step_ended") == STEPS - intact


def test_without_an_intact_checkpoint_it_is_one_line(
    trainings: Trainings, model: Path, tmp_path: Path
) -> None:
    killed = [signal.SIGKILL, "cpt_step_ended", 4]
    assert trainings(model, tmp_path, **OPTIONS, die=killed) == [-signal.SIGKILL]
    folder = tmp_path / "checkpoints"
    garbled(folder / "step-00000003")
    assert trainings(model, tmp_path, **OPTIONS) == [1]
    with pytest.raises(CptError, match=f"{folder}: step-00000003 is damaged, and no other is left"):
        checkpoint.latest(folder, "any")
