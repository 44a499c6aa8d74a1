"""A checkpoint in parts that is damaged: the one before it is taken, and a line says so."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import tiny
from .training_process import Trainings

SHARDED: dict[str, Any] = {"pairs": 2, "batch_size": 3, "loss": "cpt_dpo:Dpo"}
SHARDED |= {"checkpoint_every": 1}


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


def deleted(folder: Path) -> None:
    next(folder.glob("pytorch_model_fsdp_0/__1_*.distcp")).unlink()


def cut_short(folder: Path) -> None:
    os.truncate(next(folder.glob("optimizer_0/__0_*.distcp")), 100)


def without_metadata(folder: Path) -> None:
    (folder / "pytorch_model_fsdp_0" / ".metadata").unlink()


@pytest.fixture(scope="module")
def in_parts(model: Path, trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharded training that was stopped behind its second checkpoint."""
    run = tmp_path_factory.mktemp("parts") / "run"
    die = [signal.SIGINT, "cpt_step_ended", 2]
    asked = {**SHARDED, "processes": 2, "sharded": True, "die": die}
    assert trainings(model, run, **asked) == [130, 130]
    return run


@pytest.mark.parametrize("damage", [deleted, cut_short, without_metadata])
def test_a_checkpoint_that_lacks_a_part_falls_back_to_the_one_before(
    tmp_path: Path,
    model: Path,
    trainings: Trainings,
    in_parts: Path,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, note = tmp_path / "run", tmp_path / "note"
    shutil.copytree(in_parts, run)
    damage(run / "checkpoints" / "step-00000002")
    assert trainings(model, run, **SHARDED, note=str(note)) == [0]
    said = "step-00000002 is damaged; going on from step-00000001"
    assert capsys.readouterr().err.count(said) == 1
    assert note.read_text().count("cpt_step_ended") == tiny.read(run)[-1]["step"] - 1


def test_a_checkpoint_of_a_model_of_another_shape_is_one_line(
    tmp_path: Path,
    trainings: Trainings,
    in_parts: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(in_parts, run)
    other = tiny.folder(tmp_path / "other", hidden_size=32)
    assert trainings(other, run, **SHARDED) == [1]
    assert "step-00000002: belongs to a training with other" in capsys.readouterr().err
