"""Two commands on one folder: one of them is refused, or they follow each other."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cpt import open_run
from cpt.errors import CptError
from cpt.run.record.folder import Folder
from cpt.run.record.lock import held

from . import tiny
from .commands import Commands
from .plugins import source
from .respond import write_ladder
from .warm import Ended

AUTHORS = ["small", "large"]


@pytest.fixture(scope="module")
def place(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model, a plugin, and `done`: a run with pairs and a trained model."""
    place = tmp_path_factory.mktemp("place")
    write_ladder(place / "ladder.jsonl", AUTHORS)
    (place / "mine.py").write_text(source("gated"))
    tiny.folder(place / "base")
    for line in (["pair", *PAIR], ["train", *TRAIN]):
        made = commands.one(*line, "--output", "done", cwd=place, env=env(place))
        assert made.status == 0, made.err
    return place


RUNGS = [
    word for author in AUTHORS for word in ("--pairer.rungs", f"recorded:ladder.jsonl#{author}")
]
PAIR = ["--prompts", "ladder.jsonl", "--pairer", "ladder", *RUNGS]
TRAIN = ["--model", "base", "--train.batch-size", "4", "--train.device", "cpu"]
EVAL = [
    *("-p", "mine.py", "--evaluators", "judged", "--evaluators.judge", "length"),
    *("--generator", "gated", "--eval-limit", "2"),
    *("--eval-prompts", "ladder.jsonl"),
]
WRITING = {
    "respond": [
        "respond",
        "--prompts",
        "ladder.jsonl",
        "--responder",
        "recorded:ladder.jsonl#small",
    ],
    "pair": ["pair", "--limit", "5", "--redo"],
    "train": ["train", "--seed", "7", "--redo"],
    "eval": ["eval", *EVAL],
    "report": ["report"],
}
"""Commands that change something in a folder with pairs and a model."""
REFUSALS = "in use by|another command changed|this model is of other pairs|no model yet"


def env(place: Path) -> dict[str, str]:
    return {"CPT_CACHE": str(place / "cache")}


def copy(place: Path, tmp_path: Path) -> Path:
    """A run of one's own, in the folder of the data."""
    return Path(shutil.copytree(place / "done", tmp_path / "run"))


def said(ended: Ended) -> str:
    """What a refused command says: one line."""
    assert "Traceback" not in ended.err, ended.err
    return ended.err.splitlines()[-1] if ended.err else ""


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.combinations_with_replacement(WRITING, 2))
)
def test_any_two_commands_on_one_folder(
    commands: Commands, place: Path, tmp_path: Path, first: str, second: str
) -> None:
    """Each ends well or is refused, one ends well at least, and the folder can be used."""
    run = copy(place, tmp_path)
    lines = [[*WRITING[name], "--output", run] for name in (first, second)]
    ends = commands(*lines, cwd=place, env=env(place))
    for ended in ends:
        assert ended.status in (0, 2), ended
        assert ended.status == 0 or re.search(REFUSALS, said(ended)), ended.err
    assert any(ended.status == 0 for ended in ends), ends
    assert commands.one("report", "--output", run, cwd=place, env=env(place)).status == 0
    record = yaml.safe_load((run / "run.yaml").read_text())
    assert {stage["state"] for stage in record["stages"].values()} == {"done"}
    pairs = [pair.id for pair in open_run(run).pairs]
    assert len(pairs) == record["stages"]["pairs"]["summary"]["pairs"]
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()]
    assert steps == sorted(set(steps))
    assert not [path for path in run.rglob(".*.tmp")]


def gated(run: Path) -> list[str]:
    rungs = ["--pairer.rungs", "gated", "--pairer.rungs", "recorded:ladder.jsonl#small"]
    prompts = ["--prompts", "ladder.jsonl", "--pairer", "ladder"]
    gate = ["--pairer.rungs.0.gate", f"{run}.gate"]
    return ["pair", "-p", "mine.py", *prompts, *rungs, *gate, "--output", str(run)]


def test_the_refused_one_leaves_no_trace_and_names_the_other(
    commands: Commands, place: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "cpt", *gated(run)]
    first = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    assert any(line.startswith("prompts done") for line in first.stderr)
    lines = [gated(run), [*gated(run), "--redo"], ["report", "--output", str(run)]]
    refused = [commands.one(*line, cwd=place, env=env(place)) for line in lines]
    status = commands.one("respond", "--status", "--output", run, cwd=place)
    Path(f"{run}.gate").touch()
    rest = first.stderr.read()
    assert first.wait() == 0, rest
    first.stderr.close()
    for ended in refused:
        assert ended.status == 2
        assert ended.err.startswith(f"cpt: {run}: in use by `cpt pair` (process {first.pid}, ")
        assert len(ended.err.splitlines()) == 1
    assert status.status == 0, status.err
    assert list(yaml.safe_load((run / "run.yaml").read_text())["stages"]) == ["prompts", "pairs"]
    again = commands.one(*gated(run), "--redo", cwd=place, env=env(place))
    assert (again.status, "pairs done" in again.err) == (0, False)


def test_a_killed_holder_does_not_hold(commands: Commands, place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = gated(run)
    Path(f"{run}.gate").touch()
    at = [["cpt.files.writing_lines", signal.SIGKILL]]
    assert commands.one(*line, cwd=place, env=env(place), signals=at).status == -signal.SIGKILL
    assert [path.name for path in run.glob(".*.tmp")]
    assert commands.one(*line, cwd=place, env=env(place)).status == 0
    assert not [path.name for path in run.glob(".*.tmp")]


def test_a_control_is_under_the_lock_of_its_run(tmp_path: Path) -> None:
    run, control = Folder(tmp_path / "run"), Folder(tmp_path / "run" / "controls" / "short")
    other = Folder(tmp_path / "controls" / "short")  # no control: there is no run above it
    run.open({})
    with run.held("`cpt train`"), other.held():
        refused = pytest.raises(CptError, match=r"run: in use by `cpt train` \(process")
        with refused, control.held():
            pass
    with control.held(), pytest.raises(CptError, match="in use by a command"), run.held():
        pass


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_a_run_is_left_as_it_was(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "deep" / "run"
    if there:
        folder.mkdir(parents=True)
    with held(folder):
        assert (folder / "run.lock").exists()
    assert not list(folder.iterdir()) if there else not folder.parent.exists()


def test_a_command_that_started_from_other_options_is_refused(
    cpt_cli, place, tmp_path, monkeypatch
):
    run = copy(place, tmp_path)
    monkeypatch.chdir(place)
    monkeypatch.setenv("CPT_CACHE", str(place / "cache"))
    inner = Folder.held

    def late(folder: Folder, who: str = ""):
        folder.open({**folder.options, "limit": 3})  # the other one was faster
        return inner(folder, who)

    monkeypatch.setattr(Folder, "held", late)
    result = cpt_cli("train", "--output", run)
    assert result.exit_code == 2
    assert "another command changed its options while this one started" in result.stderr
    assert Folder(run).options["limit"] == 3


def test_a_folder_that_cannot_be_written_is_one_line(cpt_cli, tmp_path):
    (tmp_path / "file").write_text("x")
    result = cpt_cli("pair", *PAIR, "--output", tmp_path / "file" / "run")
    assert result.exit_code == 2
    assert re.search("--output .*run: cannot be written", result.stderr), result.stderr


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Folder(run).open({})
    gone = [run / ".model.gone", run / "checkpoints" / ".step-00000003.tmp"]
    for folder in gone:
        folder.mkdir(parents=True)
        (folder / "weights").write_text("x")
    (run / ".pairs.parquet.12.tmp").write_text("x")
    kept = [run / ".notes", run / "notes.tmp"]
    for path in kept:
        path.write_text("mine")
    with held(run):
        assert sorted(os.listdir(run)) == [
            ".notes",
            "checkpoints",
            "notes.tmp",
            "run.lock",
            "run.yaml",
        ]
        assert not os.listdir(run / "checkpoints")
