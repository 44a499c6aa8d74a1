"""Log-probabilities of pairs outside of a training are those that a training computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cpt import CptError, Missing, PairLogps
from cpt.likelihood import Reading, log_probabilities

from . import tiny

CPU = Reading(device="cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


def test_they_are_what_training_logs(tmp_path: Path, model: Path) -> None:
    pairs = tiny.pairs(8)
    (line,) = tiny.train(tmp_path / "run", model, pairs)
    found = [log_probabilities(pairs, model, CPU)[pair.id] for pair in pairs]
    for side in ("chosen", "rejected"):
        mean = sum(getattr(logps, side) for logps in found) / len(pairs)
        assert mean == pytest.approx(line[f"logps/{side}"], rel=1e-5)


def test_a_copy_of_the_model_has_equal_values(tmp_path: Path, model: Path) -> None:
    pairs = tiny.pairs(5)
    copy = shutil.copytree(model, tmp_path / "copy")
    assert log_probabilities(pairs, model, CPU) == log_probabilities(pairs[::-1], copy, CPU)


def test_a_trained_model_has_the_log_ratio_that_the_training_ends_with(
    tmp_path: Path, model: Path
) -> None:
    pairs = tiny.pairs(4)
    tiny.train(tmp_path / "run", model, pairs, epochs=3)
    after = log_probabilities(pairs, tmp_path / "run/model", CPU)
    before = log_probabilities(pairs, model, CPU)
    for name, logps in after.items():
        start = before[name]
        assert isinstance(logps, PairLogps) and isinstance(start, PairLogps)
        assert logps.chosen - start.chosen > logps.rejected - start.rejected
        assert logps.chosen_tokens == start.chosen_tokens


def test_a_pair_that_training_would_drop_has_the_reason(model: Path) -> None:
    same = tiny.pair("ab", "cd", "cd", id="same")
    found = log_probabilities([same, *tiny.pairs(1)], model, CPU)
    missing = found["same"]
    assert isinstance(missing, Missing) and missing.reason == "identical"
    assert isinstance(found["pair-0"], PairLogps)


def test_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CptError, match="no such folder"):
        log_probabilities(tiny.pairs(1), tmp_path / "none", CPU)
