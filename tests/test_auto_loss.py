"""`--loss auto`: the loss is taken by what a judge says, recorded, and taken again on resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cpt.cli import main
from cpt.errors import CptError
from cpt.plugins.sums import sum_of
from cpt.run.stages.taking import check_alone
from cpt.testing import LossContract
from cpt_apo import ApoDown, ApoZero, Auto
from cpt_slic import Sft

from . import tiny
from .plugins.likes import Likes

PLUGINS = Path(__file__).parent / "plugins"


class TestAuto(LossContract):
    component = Auto(judge=Likes(), beta=0.3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model"))


def train(folder: Path, model: Path, chosen: str, *more: str) -> Result:
    pairs = folder / "pairs.jsonl"
    rows = ({"prompt": f"Q{n}", "chosen": chosen, "rejected": "-"} for n in range(12))
    pairs.write_text("\n".join(map(json.dumps, rows)))
    plugins = ("-p", str(PLUGINS / "likes.py"))
    return CliRunner().invoke(
        main,
        [
            *("train", *plugins, "--pairs", str(pairs), "--model", str(model)),
            *("--output", str(folder / "run"), "--loss", "auto", "--loss.judge", "likes"),
            *("--generator.max-tokens", "4", "--train.batch-size", "4", "--json", *more),
        ],
    )


@pytest.mark.parametrize(
    ("chosen", "loss"), [("a long answer to it " * 5, "apo_zero"), ("n", "apo_down")]
)
def test_the_loss_that_suits_is_taken_and_recorded(
    tmp_path: Path, model: Path, chosen: str, loss: str
) -> None:
    done = train(tmp_path, model, chosen, "--loss.beta", "0.2")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)["stages"]["model"]
    assert summary["loss"] == loss and loss in summary["why"]
    taken = json.loads((tmp_path / "run" / "loss.json").read_text())
    assert taken["loss"] == {"name": loss, "beta": 0.2}
    assert taken["figures"]["n"] == 12
    assert f"`{loss}` with" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_what_was_taken_is_taken_again(tmp_path: Path, model: Path) -> None:
    run = tmp_path / "run"
    assert train(tmp_path, model, "n").exit_code == 0
    first = (run / "loss.json").read_text()
    record = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(record.replace("state: done", "state: begun"))
    (run / "journal.sqlite").unlink()  # nothing could be asked again without a trace
    assert train(tmp_path, model, "n").exit_code == 0
    assert (run / "loss.json").read_text() == first
    (run / "run.yaml").write_text(record.replace("state: done", "state: begun"))
    assert not (run / "journal.sqlite").exists()
    (run / "loss.json").write_text('{"loss": {"name": "apo_downn"}}')
    damaged = train(tmp_path, model, "n")
    assert damaged.exit_code == 2 and "not a record of a loss" in damaged.stderr
    other = train(tmp_path, model, "n", "--loss.otherwise", "apo_down")
    assert other.exit_code == 2 and "--redo" in other.stderr


def test_it_is_no_part_of_a_sum() -> None:
    both = sum_of("auto+sft", lambda name: {"auto": Auto, "sft": Sft}[name])
    with pytest.raises(CptError, match="cannot be part of a sum"):
        check_alone(both(auto=Auto(judge=Likes())))  # type: ignore[call-arg]
    check_alone(Auto(judge=Likes()))


def test_its_losses_are_those_of_the_paper() -> None:
    auto = Auto(judge=Likes(), otherwise="apo_down")
    assert auto._named("apo_zero") == ApoZero() and auto._named("apo_down") == ApoDown()
