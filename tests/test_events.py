"""Events: when each is called, how often, with what, and on which process."""

import json
from pathlib import Path

import pytest
import yaml

from cpt import config
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.run.events import Events
from cpt.run.execute import execute
from cpt.run.record.folder import Folder
from cpt.run.stage import Run, Stage

from . import tiny
from .plugins import source
from .test_inputs import LINE, edit

WATCHES = """
import json

import cpt


def note(*what):
    with open("events.jsonl", "a") as log:
        log.write(json.dumps(what, default=str) + "\\n")


@cpt.hookimpl
def cpt_run_started(output, options, control):
    note(control, "run_started", output, options["loss"]["name"])


@cpt.hookimpl
def cpt_stage_ended(output, stage, seconds, summary, control):
    state = cpt.open_run(output).stages[stage]
    assert state["state"] == "done" and state["summary"] == summary and seconds >= 0
    note(control, "stage_ended", output, stage)


@cpt.hookimpl
def cpt_step_ended(output, step, steps, control):
    note(control, "step_ended", output, step, steps)


@cpt.hookimpl
def cpt_metrics_logged(output, step, steps, metrics, control):
    note(control, "metrics_logged", output, step, steps, "loss" in metrics)


@cpt.hookimpl
def cpt_checkpoint_saved(output, step, path, control):
    note(control, "checkpoint_saved", output, step, path.exists())


@cpt.hookimpl
def cpt_run_ended(output, scores, error, control):
    values = {model: {name: score.value for name, score in named.items()}
              for model, named in scores.items()}
    note(control, "run_ended", output, values, repr(error))
"""


@pytest.fixture
def run(cpt_cli, tmp_path):
    """A run of four prompts with a control, watched; returns what happened."""
    tiny.folder(tmp_path / "base")
    shared = {name: source(name) for name in ("asks", "mine", "measures")}
    for name, text in {**shared, "watch": WATCHES}.items():
        (tmp_path / f"{name}.py").write_text(text)
    rows = [json.dumps({"id": str(row), "prompt": f"question {row}"}) for row in range(4)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows))
    options = {
        "evaluators": "warmth",
        "generator": "speaker",
        "eval_prompts": "prompts.jsonl",
        "train": {"checkpoint_every": 1},
        "controls": {"imitated": {"loss": "mine"}},
    }
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options))

    def run(*more, expects=0):
        Path("events.jsonl").unlink(missing_ok=True)
        plugins = ("-p", "measures.py", "-p", "watch.py", "--config", "options.yaml")
        result = cpt_cli(*LINE.split(), *plugins, *more)
        assert result.exit_code == expects, result.stderr
        assert "failed in cpt_" not in result.stderr
        seen = Path("events.jsonl")
        return [json.loads(line) for line in seen.read_text().splitlines()] if seen.exists() else []

    return run


TRAINING = [
    ["step_ended", 1, 1],
    ["metrics_logged", 1, 1, True],
    ["checkpoint_saved", 1, True],
    ["stage_ended", "model"],
]
SCORES = {model: {"warmth/warmth": 1.0} for model in ("before", "after", "imitated")}


def seen(events, control):
    """The events of the run or of a control, all of which say its folder."""
    folder = f"run/controls/{control}" if control else "run"
    mine = [event for event in events if event[0] == control]
    assert {event[2] for event in mine} == {folder}
    return [[event[1], *event[3:]] for event in mine]


def test_a_whole_run_and_its_control(run):
    events = run()
    assert seen(events, "") == [
        ["run_started", "mine"],
        ["stage_ended", "prompts"],
        ["stage_ended", "pairs"],
        *TRAINING,
        ["stage_ended", "controls"],
        ["stage_ended", "scores"],
        ["run_ended", SCORES, "None"],
    ]
    assert seen(events, "imitated") == [
        ["run_started", "mine"],
        ["stage_ended", "pairs"],
        *TRAINING,
        ["run_ended", {}, "None"],
    ]


def test_a_run_with_nothing_left_to_do_begins_and_ends(run):
    run()
    assert run() == [
        ["", "run_started", "run", "mine"],
        ["", "run_ended", "run", SCORES, "None"],
    ]


def test_a_command_that_does_not_measure_has_no_scores(run, cpt_cli):
    run()
    Path("events.jsonl").unlink()
    plugins = [word for name in ("asks", "mine", "measures", "watch") for word in ("-p", name)]
    files = [word if word == "-p" else f"{word}.py" for word in plugins]
    assert cpt_cli(*files, "train", "--output", "run").exit_code == 0
    last = Path("events.jsonl").read_text().splitlines()[-1]
    assert json.loads(last) == ["", "run_ended", "run", {}, "None"]


@pytest.mark.parametrize(
    ("statement", "status", "error"),
    [
        ("raise cpt.CptError('no luck')", 2, "CptError('no luck')"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt()"),
    ],
)
def test_a_run_that_fails_or_is_interrupted_ends_too(run, statement, status, error):
    edit("asks.py", "chosen = (await", f"{statement}\n        chosen = (await")
    assert run(expects=status) == [
        ["", "run_started", "run", "mine"],
        ["", "stage_ended", "run", "prompts"],
        ["", "run_ended", "run", {}, error],
    ]


def test_a_run_that_is_refused_has_not_begun(run):
    assert run("--model", "nowhere", expects=2) == []


def test_other_processes_of_a_run_call_nothing(tmp_path, monkeypatch):
    registry = Registry.collect(load_plugins())
    called = []
    stage = Stage(name="prompts", title="reading", options=(), work=lambda run: {})
    settings = config.resolve(config.stack([], registry), registry)
    events = Events(registry.plugins, tmp_path)
    monkeypatch.setattr(Events, "__call__", lambda self, event, **facts: called.append(event))
    run = Run(settings, Folder(tmp_path), registry, events)
    execute([stage], run)
    assert called == ["cpt_run_started", "cpt_stage_ended", "cpt_run_ended"]
    monkeypatch.setenv("RANK", "1")
    execute([stage], run)
    assert len(called) == 3
