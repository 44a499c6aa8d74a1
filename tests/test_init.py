"""`cpt init`: the package that it writes is one that a stranger can install, test and use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from cpt.cli import main
from cpt.roles import ROLES

from . import tiny
from .commands import Commands
from .fresh import ROOT, Environment

SAID = ("One word more, then.", "One word.")


def init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments], prog_name="cpt")


def test_two_roles_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = init("my-two", "--role", "loss", "--role", "filter")
    assert result.exit_code == 2 and "my-two can begin with one only" in result.output
    assert not list(tmp_path.iterdir())


@attrs.frozen
class Made:
    """A folder with a package for each role, and an environment that they are installed in."""

    folder: Path
    environment: Environment
    printed: dict[str, str]
    """What `cpt init` said, by role."""

    def cpt(self, line: str) -> str:
        return self.environment.run("cpt", *line.split(), cwd=self.folder)


@pytest.fixture(scope="module")
def made(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("strangers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        results = {role: init(f"my-{role}", "--role", role) for role in ROLES}
    assert [result.exit_code for result in results.values()] == [0] * len(ROLES)
    environment = Environment.make(tmp_path_factory.mktemp("environment") / "made")
    environment.install(wheel, *(folder / f"my-{role}" for role in ROLES))
    rows = [
        {"prompt": f"Question {number}?", "responses": {"student": SAID}} for number in range(4)
    ]
    (folder / "said.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    tiny.folder(folder / "model")
    return Made(folder, environment, {role: done.output for role, done in results.items()})


@pytest.mark.parametrize("role", ROLES)
def test_its_own_tests_pass(made: Made, role: str) -> None:
    package = made.folder / f"my-{role}"
    printed = made.environment.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", ".", cwd=package
    )
    assert " passed" in printed
    assert "failed" not in printed and "skipped" not in printed


def test_everything_is_found_and_described(made: Made) -> None:
    loaded = {plugin["name"]: plugin for plugin in json.loads(made.cpt("plugins --json"))}
    for role in ROLES:
        plugin = loaded[f"my_{role}"]
        assert (plugin["status"], plugin["source"]) == ("loaded", f"my-{role}")
        (shown,) = json.loads(made.cpt(f"show {role} my_{role} --json"))
        assert shown["class"] == f"my_{role}.My{role.capitalize()}"
        (option,) = shown["options"]
        assert shown["summary"] and option["help"]


@pytest.mark.parametrize("role", ROLES)
def test_what_comes_next_is_printed_and_can_be_typed(made: Made, role: str) -> None:
    install, test, use = made.printed[role].splitlines()[-3:]
    assert install.strip() == f"pip install -e ./my-{role} pytest"
    assert test.strip() == f"pytest ./my-{role}"
    assert use.strip() in (made.folder / f"my-{role}" / "README.md").read_text()
    program, *rest = use.split()
    assert program == "cpt"
    assert f"my_{role}" in rest
    assert f"of {_field(role)} my_{role}:" in made.cpt(f"{' '.join(rest)} --help")


def _field(role: str) -> str:
    """Where the command that is printed has the component."""
    several = {role: f"{role}s" for role in ("evaluator", "filter", "observer")}
    return {"judge": "pairer.judge", **several}.get(role, role)


def test_a_scheduler_may_follow_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = init("my-second-look", "--role", "scheduler", "--phased")
    assert printed.exit_code == 0 and "may follow" not in printed.output
    package = tmp_path / "my-second-look"
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not found", "."]
    env = {"PYTHONPATH": f"{package}:{os.environ.get('PYTHONPATH', '')}"}
    ended = commands.python.run(*tests, cwd=package, env=env)
    assert ended.status == 0, ended.out
    rows = [{"prompt": "Ice?", "chosen": f"Water {at}.", "rejected": "Glass."} for at in range(4)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny.folder(tmp_path / "model")
    line = [
        "-p",
        package / "my_second_look/__init__.py",
        "train",
        "--pairs",
        "pairs.jsonl",
        "--loss",
        "dpo",
    ]
    line += ["--model", "model", "--scheduler", "my_second_look", "--train.epochs", "2"]
    line += ["--train.batch-size", "2", "--output", "run"]
    trained = commands.one(*line, cwd=tmp_path)
    assert trained.status == 0, trained.err


def test_only_schedulers_have_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = init("my-loss", "--phased")
    assert refused.exit_code == 2 and not list(tmp_path.iterdir())
    assert "only a scheduler has phases; add --role scheduler" in refused.output
    assert "--phased" in init("my-order", "--role", "scheduler").output


def test_they_work_together_in_one_run(made: Made) -> None:
    made.cpt(
        "--prompts said.jsonl --pairer my_pairer --pairer.responder recorded:said.jsonl "
        "--filters my_filter --filters.words 50 "
        "--scheduler my_scheduler --scheduler.longest-first --loss my_loss --loss.beta 0.5 "
        "--model model --train.batch-size 2 --train.log-every 1 --evaluators my_evaluator "
        "--evaluators.words 9 --eval-prompts said.jsonl --generator.max-tokens 4 "
        "--observers my_observer --output run"
    )
    run = made.folder / "run"
    outcomes = [json.loads(line) for line in (run / "outcomes.jsonl").read_text().splitlines()]
    assert [(outcome["outcome"], outcome["pairs"]) for outcome in outcomes] == [("kept", 1)] * 4
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").open()]
    # No reward yet, so that each pair is short of 1 by 1.
    assert losses[0] == pytest.approx(1.0, abs=1e-5)
    assert losses[-1] < 1
    seconds = (run / "seconds.txt").read_text().splitlines()
    assert [line.split()[0] for line in seconds] == [
        "prompts",
        "pairs",
        "model",
        "controls",
        "scores",
    ]
    measured = json.loads((run / "scores.json").read_text())["scores"]
    assert all("short" in str(scores) for scores in measured.values())


def test_the_judge_and_the_responder_are_asked(made: Made) -> None:
    made.cpt("respond --responder my_responder:me --prompts said.jsonl --output said")
    made.cpt(
        "pair --prompts said.jsonl --pairer rlaif --pairer.responder recorded:said.jsonl "
        "--pairer.samples 2 --pairer.judge my_judge --pairer.judge.words 2 --output judged"
    )
    import pyarrow.parquet as pq

    said = pq.read_table(made.folder / "said" / "responses.parquet").to_pylist()
    assert "Question" in str(said) and "me" in str(said)
    judged = pq.read_table(made.folder / "judged" / "pairs.parquet").to_pylist()
    assert [row["chosen"][-1]["content"] for row in judged] == [SAID[1]] * 4
    assert {row["margin"] for row in judged} == {2.0}


def test_checkers_have_nothing_to_say(made: Made) -> None:
    for role in ROLES:
        package = made.folder / f"my-{role}"
        for rules in ([], ["--select", "E,F,I,UP,B,SIM,RUF,TID,C90"]):
            _checked("ruff", "check", "--isolated", *rules, ".", cwd=package)
        _checked("ruff", "format", "--isolated", "--check", ".", cwd=package)
    modules = [f"my-{role}/{part}" for role in ROLES for part in (f"my_{role}", "tests")]
    _checked("mypy", "--strict", "--cache-dir", ".cache", *modules, cwd=made.folder)


def _checked(tool: str, *arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_role_is_the_easiest_one_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = init("cpt-calm")
    assert "No --role was given, so it adds a loss. There are also: responder, " in done.output
    assert "cpt --loss calm\n" in done.output
    assert 'calm = "cpt_calm"' in (tmp_path / "cpt-calm" / "pyproject.toml").read_text()


def test_it_asks_for_the_python_that_cpt_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    init("calm")
    ours, made = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]["requires-python"]
        for folder in (ROOT, tmp_path / "calm")
    )
    assert ours == made


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["My Loss"], "'My Loss' is no name for a package: .* as in 'my-loss'."),
        (["2nd"], "as in 'nd'"),
        (["../up"], "as in 'up'"),
        (["--", "-"], "as in 'my-plugin'"),
        (["cpt-2x"], "as in 'cpt-x'"),
        (["a--b"], "as in 'a-b'"),
        (["class"], "a keyword of Python has this name already; take another."),
        (["apo-zero"], r"the loss cpt_apo\.losses\.ApoZero has this name already"),
        (["apo-zero", "--role", "loss"], "the loss"),
        (["clair"], "the plugin of contrastive-post-training has this name already"),
        (["cpt-clair"], "the plugin of"),
        (["torch"], "the module torch that is installed has this name already"),
        (["tomllib"], "the module tomllib"),
        (["types-pyyaml"], "an installed package has this name already"),
        (["a" * 300], "File name too long"),
        # The folder has room for its name, but not for that of the test in it.
        (["a" * 240], "File name too long"),
        (["calm", "--role", "losses"], "'losses' is not one of"),
    ],
)
def test_a_name_that_cannot_be_had(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.chdir(tmp_path)
    done = init(*arguments)
    assert done.exit_code == 2
    assert re.search(complaint, done.output)
    assert len(done.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_name_may_be_taken_by_another_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init("apo-zero", "--role", "pairer").exit_code == 0


@pytest.mark.parametrize(
    "put",
    [
        Path.mkdir,
        lambda path: path.write_text("mine"),
        lambda path: path.symlink_to("nowhere"),
    ],
    ids=["folder", "file", "dangling link"],
)
def test_what_is_there_stays(
    put: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "calm")
    before = (tmp_path / "calm").lstat()
    done = init("calm")
    assert done.exit_code == 2
    assert done.output == ("cpt: calm: this file or folder is there already; take another name.\n")
    assert (tmp_path / "calm").lstat() == before
    assert [path.name for path in tmp_path.iterdir()] == ["calm"]
