"""The command line, as a user meets it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from cpt.cli import main
from cpt.config import Layer
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry

HEAVY = {"torch", "transformers", "datasets", "pyarrow", "openai", "anthropic", "aiohttp"}


def test_flags_follow_the_components_named_on_the_line(cpt_cli):
    shown = cpt_cli("--pairer", "clair", "--loss", "apo_zero", "--help").output
    assert "--loss.beta FLOAT" in shown
    assert "--pairer.reviser" in shown
    assert "--loss.label-smoothing" not in shown
    assert "--pairer.rungs" not in shown
    assert "--loss.label-smoothing" in cpt_cli("--loss", "dpo", "--help").output


def test_the_help_of_an_option_is_the_string_under_its_field(cpt_cli):
    shown = " ".join(cpt_cli("--loss", "dpo", "--help").output.split())
    assert "The share of pairs believed to be the wrong way round" in shown


@pytest.mark.parametrize("command", ["run", "pair", "respond"])
def test_what_is_often_said_has_a_short_name_beside_its_address(cpt_cli, command):
    shown = " ".join(cpt_cli(command, "--help").output.split())
    assert "--batch, --asking.batch / --no-batch, --no-asking.batch" in shown
    assert "--budget, --asking.budget FLOAT" in shown
    for name in ("--budget", "--asking.budget"):
        result = cpt_cli(command, name, "0", "--output", "none")
        assert result.stderr == "cpt: asking.budget: must be > 0.0: 0.0 (from the command line)\n"


def test_no_two_flags_of_a_command_have_one_name(cpt_cli):
    for name in ("run", "respond", "pair", "train", "eval"):
        context = click.Context(main.commands[name], obj=Registry.collect(load_plugins()))
        spellings = [
            spelling
            for param in context.command.get_params(context)
            for spelling in (*param.opts, *param.secondary_opts)
        ]
        assert len(spellings) == len(set(spellings))


def test_options_of_what_was_not_named_are_hidden_but_taken(cpt_cli):
    assert "--loss.beta" not in cpt_cli("--help").output
    result = cpt_cli("train", "--loss.beta", "0.3", "--output", "none")
    assert "no pairs yet" in result.stderr


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (["--los", "dpo"], "No such option '--los'"),
        (["--loss", "dpoo"], "No loss is called 'dpoo'. Did you mean 'dpo'?"),
        (["--loss", "sigmoid"], "No loss is called 'sigmoid'. It is 'dpo' here."),
        (["--loss", "dpo", "--loss.bta", "1"], "No such option '--loss.bta'"),
        (["--loss.beta", "hot"], "'hot' is not a valid float"),
        (["--loss", "dpo", "--loss.beta", "-1"], "loss.beta: must be > 0.0: -1.0"),
        (["--loss", "apo_down", "--loss.beta", "0"], "loss.beta: must be > 0.0: 0.0"),
        (["--loss", "slic", "--loss.delta", "-1"], "loss.delta: must be >= 0.0: -1.0"),
        (["--loss", "dpo", "--loss.label-smoothing", "0.5"], "loss.label_smoothing: must be < 0.5"),
        (["--train.epochs", "0"], "train.epochs: must be >= 1: 0 (from the command line)"),
        (["--train.dora"], "cpt: train.dora: must be false without lora_rank"),
        (["--train.patience", "2"], "cpt: train.patience: must have keep_best beside it"),
        (["--train.keep-best", "eval/loss"], "cpt: train.keep_best: must have eval_every"),
        (["--train.weights", "bf16"], "cpt: train.weights: must be fp32 with precision fp32"),
        (["--limit", "0"], "limit: must be >= 1: 0"),
        (["--limit", "9" * 30], "limit: must be <= "),
        (["respond", "--samples", "0"], "samples: must be >= 1: 0"),
        (["respond", "--responder", "server:m"], "--prompts must be given: what should be asked?"),
        *(
            (["respond", "--responder", "server:m", f"--responder.{name}", "0"], f"{name}: must be")
            for name in ("concurrency", "timeout", "attempts")
        ),
        (
            ["respond", "--responder", "server:m", "--responder.requests-per-minute", "-1"],
            "responder.requests_per_minute: must be > 0.0: -1.0",
        ),
        (["--seed", "-1"], "seed: must be >= 0: -1"),
        (["train", "--pairs", "p.jsonl"], "--model must be given: what should be trained?"),
        (["pair", "--prompts", "p.jsonl"], "--pairer must be given: how should pairs be made?"),
        (["pair", "--prompts", ""], "--prompts must be given: what should be asked?"),
        (["doctor", "p.jsonl"], "p.jsonl: no such file or folder"),
        (["doctor", "p.jsonl", "--show", "1"], "--show prints tokens: give --model"),
        (["doctor", "p.jsonl", "--train.allow", "scored_belo"], "there is scored_below"),
        (["--config", "none.yaml"], "none.yaml: cannot be read"),
        (["--preset", "labb"], "no preset is called 'labb'. Did you mean 'lab'?"),
        (
            ["pair", "--prompts", "none.jsonl", "--pairer", "ladder"],
            "cpt: pairer.rungs: must be given\n",
        ),
        (["respond", "--status", "--output", "none"], "nothing was asked in this folder yet"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["-p"], "-p needs a plugin"),
        (["-p", "none.py", "doctor", "p.jsonl"], "none.py: this plugin did not load (FileNotFound"),
        (["-p", "no:appo"], "no:appo: no plugin has this name. There are: anthropic, apo, "),
    ],
)
def test_bad_input_is_one_line_and_status_2(cpt_cli, line, complaint):
    result = cpt_cli(*line)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.output


def test_nothing_is_written_when_the_input_is_bad(cpt_cli, tmp_path):
    cpt_cli("train", "--pairs", "none.parquet", "--model", "none", "--output", "run")
    assert list(tmp_path.iterdir()) == []


def test_what_the_later_stages_lack_is_said_before_anything_is_made(cpt_cli, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a", "responses": {"x": "one", "y": "two"}}\n')
    rungs = [word for who in "xy" for word in ("--pairer.rungs", f"recorded:{prompts}#{who}")]
    line = ["--prompts", prompts, "--pairer", "ladder", *rungs, "--output", tmp_path / "run"]
    assert "no such folder" in cpt_cli(*line, "--model", "none").stderr
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    measured = [*line, "--model", model, "--evaluators", "judged:lab_checker"]
    assert "--eval-prompts must be given" in cpt_cli(*measured).stderr
    assert "held.jsonl: no such file" in cpt_cli(*measured, "--eval-prompts", "held.jsonl").stderr
    (model / "config.json").write_text('{"architectures": ["LlamaForSequenceClassification"]}')
    assert "a reward model or another classifier" in cpt_cli(*line, "--model", model).stderr
    assert not (tmp_path / "run").exists()


def test_of_a_flag_that_is_given_twice_the_last_counts(cpt_cli, tmp_path):
    twice = ["--loss", "sft", "--loss", "dpo", "--output", "a", "--output", "b"]
    assert "--loss.label-smoothing" in cpt_cli("train", *twice, "--help").output
    result = cpt_cli("train", *twice, "--loss.beta", "0.2", "--preset", "x", "--preset", "lab")
    assert result.stderr == "cpt: b: no pairs yet; run `cpt pair` first, or give --pairs.\n"


def test_what_the_disk_says_is_one_line(cpt_cli, tmp_path):
    long = "a" * 300
    for line in (["--output", long], ["--pairs", f"{long}.jsonl"], ["--model", "no\nmodel"]):
        result = cpt_cli("train", "--pairs", "p.jsonl", "--model", tmp_path, *line)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert (
            "File name too long; choose another folder" in result.stderr
            or "no model" in result.stderr
        )


def test_a_full_disk_stops_the_run(cpt_cli, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "run/run.yaml")

    monkeypatch.setattr("cpt.cli.commands.inspect.options.schema", full)
    result = cpt_cli("show", "loss")
    assert (result.exit_code, result.stderr) == (
        1,
        "cpt: run/run.yaml: No space left on device; make room, and the same command continues.\n",
    )


def test_help_imports_nothing_that_it_does_not_need():
    """Help stays under four times the cost of its own libraries: see benchmarks/startup.py."""
    slow = {
        "cattrs",
        "email.parser",
        "jinja2",
        "rich",
        "statistics",
        "cpt.run",
        "logging",
    }
    code = (
        "import sys; from cpt.cli import main; main(['--help'], standalone_mode=False);"
        f"print(sorted({slow} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from cpt.cli import main; main(['--help'], standalone_mode=False);"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_show_says_what_can_be_picked(cpt_cli):
    every = cpt_cli("show").stdout
    assert "loss apo_zero" in every
    described = json.loads(cpt_cli("show", "loss", "apo_zero", "--json").stdout)[0]
    assert described["options"][0] == {
        "name": "beta",
        "type": "float",
        "required": False,
        "default": 0.1,
        "help": "How sharply the log-ratio counts: a larger one keeps the model nearer to the "
        "reference.",
    }
    assert "Did you mean 'apo_zero'" in cpt_cli("show", "loss", "apo_zer").stderr
    rungs = json.loads(cpt_cli("show", "pairer", "ladder", "--json").stdout)[0]["options"][0]
    assert (rungs["name"], rungs["type"]) == ("rungs", "tuple[Responder, ...]")


def test_an_unexpected_error_keeps_its_traceback(cpt_cli, tmp_path):
    (tmp_path / "buggy.py").write_text(
        "import click, cpt\n"
        "@click.command()\ndef crash():\n    'Crash.'\n    raise KeyError('bug')\n"
        "@cpt.hookimpl\ndef cpt_commands():\n    return [crash]\n"
    )
    result = cpt_cli("-p", "buggy.py", "crash")
    assert result.exit_code == 1
    assert isinstance(result.exception, KeyError)


def test_as_a_module_it_imports_nothing_from_the_working_directory(tmp_path):
    for name in ("yaml", "torch", "cattrs", "rich"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('this is {name} of the directory')")
    command = [sys.executable, "-m", "cpt", "show", "loss", "dpo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_layers_of_a_line_are_read_once(cpt_cli, monkeypatch):
    """But for the run folder, whose name may depend on what is picked."""
    read = []

    def environment() -> Layer:
        read.append(1)
        return Layer("none", {})

    monkeypatch.setattr("cpt.config.environment", environment)
    cpt_cli("train", "--pairs", "none.jsonl", "--model", "none", "--output", "run")
    assert read == [1]
    help_too = cpt_cli("train", "--help")
    assert help_too.exit_code == 0 and read == [1, 1]


def test_a_switch_that_is_turned_off_reaches_the_run(cpt_cli, tmp_path):
    """What a line is before its flags are known takes the next word for its value."""
    (tmp_path / "run.yaml").write_text("asking: {batch: true}")
    (tmp_path / "p.jsonl").write_text('{"prompt": "Why?", "responses": {"x": "one", "y": "two"}}')
    rungs = [word for who in "xy" for word in ("--pairer.rungs", f"recorded:p.jsonl#{who}")]
    line = ["pair", "--prompts", "p.jsonl", "--pairer", "ladder", *rungs, "--config", "run.yaml"]
    made = cpt_cli(*line, "--no-batch", "--output", "run")
    assert made.exit_code == 0, made.output
    recorded = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert recorded["options"]["asking"]["batch"] is False


def test_a_path_that_is_no_text_is_one_line_and_nothing_is_written(cpt_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text('{"id": "1", "prompt": "p", "chosen": "a", "rejected": "b"}\n')
    result = cpt_cli("pair", "--pairs", "p.jsonl", "--output", "run\udcff")
    assert result.exit_code == 2
    assert result.stderr.startswith("cpt: run\\udcff: not in the encoding of this terminal")
    assert os.listdir() == ["p.jsonl"]


def test_closed_streams_stop_nothing(monkeypatch, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    monkeypatch.chdir(tmp_path)
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
    with pytest.raises(SystemExit) as ended:
        main(["pair", "--pairs", "p.jsonl", "--output", "run"])
    for given in (sys.stdin, sys.stdout, sys.stderr):
        given.close()
    assert ended.value.code == 0
    assert (tmp_path / "run" / "pairs.parquet").exists()
