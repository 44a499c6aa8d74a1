"""A full disk, Ctrl-C, SIGKILL at every stage: one line, nothing half-written, and it continues."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from cpt.data import write_prompts
from cpt.run.record import inputs
from cpt.run.record.folder import Folder
from cpt.run.stages import pairing
from cpt.run.stages.card import write_card
from cpt.training.loss.metrics import TIMING

from . import tiny
from .commands import Commands
from .plugins import source
from .respond import write_ladder
from .warm import Ended

AUTHORS = ["small", "large"]
LINE = [
    *("run", "-p", "mine.py", "--prompts", "ladder.jsonl", "--pairer", "ladder", "--model", "base"),
    *("--pairer.rungs", "gated", "--pairer.rungs", "recorded:ladder.jsonl#large"),
    *("--train.batch-size", "2", "--train.device", "cpu", "--train.checkpoint-every", "2"),
    *("--train.log-every", "1", "--generator", "gated", "--eval-limit", "2"),
    *("--evaluators", "judged", "--evaluators.judge", "length", "--eval-prompts", "ladder.jsonl"),
    *("--output", "run"),
]


@pytest.fixture(scope="module")
def made(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model, a plugin, and a run that nothing has broken."""
    place = tmp_path_factory.mktemp("place")
    write_ladder(place / "ladder.jsonl", AUTHORS)
    (place / "mine.py").write_text(source("gated"))
    tiny.folder(place / "base")
    unbroken = command(commands, place)
    assert unbroken.status == 0, unbroken.err
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    for name in ("ladder.jsonl", "mine.py"):
        shutil.copy(made / name, tmp_path)
    (tmp_path / "base").symlink_to(made / "base")
    return tmp_path


def command(commands: Commands, place: Path, **how: object) -> Ended:
    env = {"CPT_CACHE": str(place / "cache")}
    return commands.one(*LINE, cwd=place, **{"env": env, **how})


def assert_same(run: Path, other: Path) -> None:
    """The same pairs, weights, scores and steps, and nothing under a temporary name."""
    for name in ("pairs.parquet", "prompts.parquet", "outcomes.jsonl", "order.parquet"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("scores.json", "doctor.json"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    weights, others = (load_file(path / "model" / "model.safetensors") for path in (run, other))
    assert weights.keys() == others.keys()
    assert all(weights[name].equal(others[name]) for name in weights)
    lines, other_lines = (tiny.read(path) for path in (run, other))
    for line in [*lines, *other_lines]:
        for name in TIMING:
            line.pop(name, None)
    assert lines == other_lines
    assert unfinished(run) == []
    stages = yaml.safe_load((run / "run.yaml").read_text())["stages"]
    assert {stage["state"] for stage in stages.values()} == {"done"}


def unfinished(run: Path) -> list[str]:
    return [str(path) for path in run.rglob(".*") if path.name.endswith((".tmp", ".gone"))]


FULL = {
    "run.yaml": ("cpt.run.record.folder.write_text", 0),
    "prompts": ("cpt.run.stages.pairing.write_prompts", 0),
    "journal": ("cpt.asking.journal.clean_close.take", 0),
    "pairs": ("cpt.run.stages.pairing.pair_one", 0),
    "doctor.json": ("cpt.training.planning.files.write_plan", 0),
    "references": ("cpt.training.reference.scoring.references", 0),
    "metrics": ("cpt.training.loss.metrics.append", 0),
    "checkpoint": ("cpt.training.output.checkpoint.save", 0),
    "optimizer": ("cpt.training.output.checkpoint.save", 300_000),
    "export": ("cpt.training.output.export.export", 0),
    "scores": ("cpt.run.results.scores.write_scores", 0),
    "report": ("cpt.report.html.render", 0),
}
"""What cannot be written any more, from the call of which function, beyond so many bytes."""


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    commands: Commands, made: Path, place: Path, what: str
) -> None:
    function, limit = FULL[what]
    stopped = command(commands, place, full=function, limit=limit)
    assert (stopped.status, "Traceback" in stopped.err) == (1, False), stopped.err
    last = stopped.err.splitlines()[-1]
    assert last.startswith("cpt: ") and ("run" in last or "cache" in last), stopped.err
    assert unfinished(place) == []
    again = command(commands, place)
    assert again.status == 0, again.err
    assert_same(place / "run", made / "run")


SAVE, EXPORT = "cpt.training.output.checkpoint.save", "cpt.training.output.export.export"
INTERRUPTED = {
    "a second time, in a step": ["cpt.training.loop._step", "cpt.training.loop._backward"],
    "a second time, in a checkpoint": ["cpt.training.optimizer.schedule.factor", SAVE],
    "in the export": ["cpt.training.output.export.model_card"],
    "in the references": ["cpt.training.reference.store._write"],
    "while the report is written": ["cpt.report.html.render"],
}


@pytest.mark.parametrize("when", INTERRUPTED)
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    commands: Commands, made: Path, place: Path, when: str
) -> None:
    signals = [[function, signal.SIGINT] for function in INTERRUPTED[when]]
    stopped = command(commands, place, signals=signals)
    assert (stopped.status, "Traceback" in stopped.err) == (130, False), stopped.err
    assert stopped.err.splitlines()[-1].startswith("cpt: interrupted; "), stopped.err
    assert unfinished(place) == []
    again = command(commands, place)
    assert again.status == 0, again.err
    assert_same(place / "run", made / "run")


KILLED = {
    "pairs": "cpt.run.stages.pairing.pair_one",
    "export": "cpt.training.output.export.model_card",
    "scores": "cpt.run.results.scores.write_scores",
    "report": "cpt.report.html.render",
}


@pytest.mark.parametrize("what", KILLED)
def test_a_killed_command_goes_on_and_what_it_left_is_removed(
    commands: Commands, made: Path, place: Path, what: str
) -> None:
    killed = command(commands, place, signals=[[KILLED[what], signal.SIGKILL]])
    assert killed.status == -signal.SIGKILL
    again = command(commands, place)
    assert again.status == 0, again.err
    assert_same(place / "run", made / "run")


def test_training_needs_no_home(commands: Commands, made: Path, place: Path) -> None:
    """A cache that cannot be written is done without; the run has all that it needs."""
    env = {"CPT_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/dev/null"}
    ended = command(commands, place, env=env)
    assert ended.status == 0, ended.err
    assert_same(place / "run", made / "run")


def test_a_model_without_its_summary_is_one_line(
    commands: Commands, made: Path, place: Path
) -> None:
    run = Path(shutil.copytree(made / "run", place / "run"))
    record = yaml.safe_load((run / "run.yaml").read_text())
    record["stages"]["model"]["state"] = "begun"
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    for damage in ("{", None):
        if damage:
            (run / "training.json").write_text(damage)
        else:
            (run / "training.json").unlink()
        ended = command(commands, place)
        assert ended.status == 2
        assert "training.json: missing or damaged, though run/model is there" in ended.err
        assert len(ended.err.splitlines()) == 1
    shutil.move(run / "model", run / "mine")
    assert command(commands, place).status == 0
    shutil.rmtree(run / "mine")
    assert_same(run, made / "run")


@pytest.mark.parametrize("named", ["--pairs", "--filters.file"])
def test_a_file_that_goes_once_it_was_looked_for_is_missed_in_one_line(
    cpt_cli: Any, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    pair = {"id": "1", "prompt": "p", "chosen": "a b", "rejected": "b", "pair_id": "1"}
    for name in ("pairs.jsonl", "flags.jsonl"):
        Path(name).write_text(json.dumps({**pair, "flag": "drop"}) + "\n")
    goes = Path("pairs.jsonl" if named == "--pairs" else "flags.jsonl")

    def gone(path: Path) -> str:
        goes.unlink(missing_ok=True)
        return digest_of(path)

    digest_of = inputs.digest_of
    monkeypatch.setattr(inputs, "digest_of", gone)
    flags = ("--filters", "flags", "--filters.file", "flags.jsonl")
    result = cpt_cli("pair", "--pairs", "pairs.jsonl", *flags, "--output", "run")
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert f"cpt: {goes}: no such file" in result.stderr


def test_data_that_change_while_they_are_read_are_refused(
    cpt_cli: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)

    def slow(path: Path, prompts: Any) -> int:
        count = write_prompts(path, prompts)
        with Path("ladder.jsonl").open("a") as file:
            file.write('{"id": "late", "prompt": "late"}\n')
        return count

    monkeypatch.setattr(pairing, "write_prompts", slow)
    line = ["pair", "--prompts", "ladder.jsonl", "--pairer", "ladder", "--output", "run"]
    rungs = ["--pairer.rungs", "recorded:ladder.jsonl#small"]
    result = cpt_cli(*line, *rungs, "--pairer.rungs", "recorded:ladder.jsonl#large")
    assert result.exit_code == 2
    assert "prompts ladder.jsonl: changed while it was read" in result.stderr
    assert not Folder(Path("run")).stage("prompts")


def test_a_file_of_an_option_that_changes_while_it_is_read_is_refused(
    cpt_cli: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    pair = {"id": "1", "prompt": "p", "chosen": "a b", "rejected": "b"}
    Path("pairs.jsonl").write_text(json.dumps(pair) + "\n")
    flags = Path("flags.jsonl")
    flags.write_text('{"pair_id": "1", "flag": "keep"}\n')

    def late(*given: Any) -> None:
        flags.write_text('{"pair_id": "1", "flag": "swap"}\n')
        write_card(*given)

    monkeypatch.setattr(pairing, "write_card", late)
    named = ("--filters", "flags", "--filters.file", "flags.jsonl", "--output", "run")
    result = cpt_cli("pair", "--pairs", "pairs.jsonl", *named)
    assert result.exit_code == 2
    assert "filters.0.file flags.jsonl: changed while it was read" in result.stderr
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert cpt_cli("pair", "--pairs", "pairs.jsonl", *named).exit_code == 0
