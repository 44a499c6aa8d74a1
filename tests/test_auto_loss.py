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
from cpt_apo.auto import Auto
from cpt_apo.losses import ApoDown, ApoZero
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


ASKS = '''
"""A judge that costs two requests for two answers."""

import attrs
import cpt


@attrs.frozen
class Asks(cpt.Judge):
    """Asks a service about each answer."""

    name = "asks"
    responder: cpt.Responder

    async def judge(self, prompt, responses, ask):
        said = [await ask(self.responder, prompt, n) for n, _ in enumerate(responses)]
        return cpt.Verdict(scores=tuple(float(len(one.text)) for one in said))


@cpt.hookimpl
def cpt_judges():
    return [Asks]
'''


@pytest.mark.parametrize("command", ["train", "run"])
def test_a_dry_run_counts_what_it_asks_and_only_pairs_that_are_trained_on(
    tmp_path: Path, model: Path, command: str
) -> None:
    (tmp_path / "asks.py").write_text(ASKS)
    rows = [
        {"prompt": f"Q{n}", "chosen": "yes " * (1 + 50 * (n % 2)), "rejected": "no"}
        for n in range(24)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line = [
        *(command, "-p", tmp_path / "asks.py", "--pairs", tmp_path / "pairs.jsonl", "--model"),
        *(model, "--output", tmp_path / "run", "--loss", "auto", "--loss.judge", "asks"),
        *("--loss.judge.responder", "openai:gpt-4.1", "--generator.max-tokens", "4"),
        *("--filters", "length_ratio", "--holdout", "0.25", "--dry-run", "--json"),
    ]
    ended = CliRunner().invoke(main, list(map(str, line)))
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    asked = found["asking"] if command == "train" else found
    judged = asked["estimates"]["openai:gpt-4.1"]["requests"]
    answered = asked["total"]["requests"] - judged
    assert judged == 2 * answered and 0 < answered < 12  # 12 are left, some of them held out
    if command == "train":
        assert found["pairs"] == answered
    assert not (tmp_path / "run").exists()


def test_a_dry_run_stands_in_for_pairs_that_are_not_made_yet(tmp_path: Path, model: Path) -> None:
    (tmp_path / "asks.py").write_text(ASKS)
    rows = [{"prompt": f"Q{n}", "response": f"A{n}"} for n in range(15)]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recorded = f"recorded:{tmp_path / 'said.jsonl'}"
    line = [
        *(
            "run",
            "-p",
            tmp_path / "asks.py",
            "--prompts",
            tmp_path / "said.jsonl",
            "--model",
            model,
        ),
        *("--pairer", "clair", "--pairer.student", recorded),
        *("--pairer.reviser", "openai:gpt-4.1", "--output", tmp_path / "run", "--loss", "auto"),
        *("--loss.judge", "asks", "--loss.judge.responder", "openai:gpt-4.1-mini"),
        *("--loss.sample", "10", "--generator.max-tokens", "4", "--dry-run", "--json"),
    ]
    ended = CliRunner().invoke(main, list(map(str, line)))
    assert ended.exit_code == 0, ended.output
    requests = {
        name: one["requests"] for name, one in json.loads(ended.stdout)["estimates"].items()
    }
    assert (requests["openai:gpt-4.1"], requests["openai:gpt-4.1-mini"]) == (15, 20)
    pairs = [word for word in map(str, line) if word != "run"]
    alone = json.loads(CliRunner().invoke(main, ["pair", *pairs]).stdout)["estimates"]
    assert alone["openai:gpt-4.1"]["requests"] == 15 and "openai:gpt-4.1-mini" not in alone
