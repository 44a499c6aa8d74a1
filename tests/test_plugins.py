"""The plugin host: what loads, what does not, and how a user sees it."""

import json
import subprocess
import sys
import textwrap

import pytest

from . import tiny

HINGE = textwrap.dedent('''
    import attrs, cpt

    @attrs.frozen
    class Hinge(cpt.Loss):
        """Stop pushing once the margin is wide enough."""
        name = "hinge"
        width: float = 1.0
        """The margin that is enough."""

        def __call__(self, batch):
            return (self.width - (batch.chosen.ratio - batch.rejected.ratio)).relu()

    @cpt.hookimpl
    def cpt_losses():
        return [Hinge]
''')


def test_a_single_file_is_a_plugin(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(HINGE)
    shown = cpt_cli("-p", "mine.py", "show", "loss", "hinge")
    assert "Stop pushing once" in shown.output
    assert "--loss.width" in shown.output


def test_plugins_come_from_the_environment_too(cpt_cli, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(HINGE)
    monkeypatch.setenv("CPT_PLUGINS", "mine.py,no:apo")
    output = cpt_cli("show", "loss").output
    assert "hinge" in output
    assert "apo_zero" not in output


def test_the_list_says_name_source_state_hooks_and_time(cpt_cli):
    plugins = {each["name"]: each for each in json.loads(cpt_cli("plugins", "--json").stdout)}
    assert plugins["apo"]["hooks"] == ["cpt_losses"]
    assert plugins["apo"]["source"] == "contrastive-post-training"
    assert plugins["apo"]["state"] == "loaded"
    assert plugins["apo"]["seconds"] > 0


def test_a_broken_plugin_breaks_nothing_else(cpt_cli, tmp_path):
    (tmp_path / "bad.py").write_text("import not_installed_anywhere\n")
    result = cpt_cli("-p", "bad.py", "plugins")
    assert result.exit_code == 0
    assert "broken" in result.output and "not_installed_anywhere" in result.output
    assert "Traceback" in cpt_cli("-p", "bad.py", "plugins", "--traceback").output
    missing = cpt_cli("-p", "bad.py", "--loss", "theirs")
    assert missing.exit_code == 2
    assert "Plugin 'bad' did not load" in missing.stderr


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ("3", "cpt_losses must return a list, got 3"),
        ("None", "cpt_losses must return a list, got None"),
        ("[dict]", "must return classes derived from cpt.roles.Loss, got <class 'dict'>"),
        ("[Nameless]", "bad.Nameless has no name"),
        ("[Undecorated]", "bad.Undecorated has fields; decorate it with @attrs.frozen"),
        ("1 / 0", "division by zero"),
    ],
)
def test_a_plugin_that_offers_no_component_breaks_nothing_else(cpt_cli, tmp_path, returned, why):
    (tmp_path / "bad.py").write_text(
        "import cpt\n\n"
        "class Nameless(cpt.Loss):\n    def __call__(self, batch): return batch\n\n"
        "class Undecorated(Nameless):\n    name = 'u'\n    beta: float = 0.1\n\n"
        f"@cpt.hookimpl\ndef cpt_losses():\n    return {returned}\n"
    )
    listed = cpt_cli("-p", "bad.py", "plugins")
    assert listed.exit_code == 0 and "broken" in listed.output and why in listed.output
    assert "apo_zero" in cpt_cli("-p", "bad.py", "show", "loss").output
    missing = cpt_cli("-p", "bad.py", "show", "loss", "theirs")
    assert missing.exit_code == 2 and why in missing.stderr


def test_an_option_that_is_a_list_is_refused(cpt_cli, tmp_path):
    """A text given to it would be a list of its letters."""
    (tmp_path / "mine.py").write_text(
        HINGE.replace("width: float = 1.0", "width: list[str] = attrs.field(factory=list)")
    )
    refused = cpt_cli("-p", "mine.py", "train", "--loss", "hinge", "--loss.width", "abc")
    assert refused.exit_code == 2
    assert "cpt: loss.width: mine.Hinge has a list[str] there" in refused.stderr


def test_an_option_that_a_plugin_has_no_more_says_where_it_stands(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(HINGE)
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    tiny.folder(tmp_path / "model")
    line = ("-p", "mine.py", "train", "--output", "run")
    made = cpt_cli(*line, "--loss", "hinge", "--pairs", "pairs.jsonl", "--model", "model")
    assert made.exit_code == 0, made.output
    (tmp_path / "mine.py").write_text(HINGE.replace("width", "breadth"))
    again = cpt_cli(*line)
    assert again.exit_code == 2
    assert "loss.width: no such option. There are: breadth. (from run/run.yaml; a" in again.stderr
    without = cpt_cli("train", "--output", "run")
    assert "No loss is called 'hinge'." in without.stderr and "add -p FILE.py" in without.stderr


def test_a_misspelt_hook_is_an_error(cpt_cli, tmp_path):
    (tmp_path / "typo.py").write_text("import cpt\n@cpt.hookimpl\ndef cpt_loss(): return []\n")
    assert "unknown hook 'cpt_loss'" in cpt_cli("-p", "typo.py", "plugins").output


def test_two_claims_to_one_name_are_an_error_naming_both(cpt_cli, tmp_path):
    (tmp_path / "twin.py").write_text(HINGE.replace('"hinge"', '"dpo"'))
    result = cpt_cli("-p", "twin.py", "show", "loss")
    assert result.exit_code == 2
    assert "Two losses are called 'dpo'" in result.stderr
    assert "cpt_dpo" in result.stderr and "twin.Hinge of plugin 'twin'" in result.stderr
    assert "Block one with -p no:dpo." in result.stderr
    assert "twin" not in cpt_cli("-p", "twin.py", "-p", "no:dpo", "show", "loss", "dpo").stderr


def test_two_plugins_of_one_name_stay_visible(cpt_cli, tmp_path):
    (tmp_path / "apo.py").write_text("")
    output = cpt_cli("-p", "apo.py", "plugins").output
    assert "the name 'apo' is taken by contrastive-post-training" in output
    assert "apo_zero" in cpt_cli("-p", "apo.py", "show", "loss").output


def test_a_plugin_can_be_blocked_and_is_listed_as_such(cpt_cli):
    assert "apo_zero" not in cpt_cli("-p", "no:apo", "show", "loss").output
    plugins = json.loads(cpt_cli("-p", "no:apo", "plugins", "--json").stdout)
    assert [each["state"] for each in plugins if each["name"] == "apo"] == ["blocked"]


def test_every_hook_call_can_be_traced(cpt_cli, monkeypatch):
    monkeypatch.setenv("CPT_TRACE", "1")
    assert "cpt_losses() -> " in cpt_cli("show", "loss").stderr


def test_a_plugin_can_add_a_command(cpt_cli, tmp_path):
    (tmp_path / "hello.py").write_text(
        "import click, cpt\n\n"
        "@click.command()\ndef hello():\n    'Greet.'\n    click.echo('hi')\n\n"
        "@cpt.hookimpl\ndef cpt_commands():\n    return [hello]\n"
    )
    assert cpt_cli("-p", "hello.py", "hello").output == "hi\n"
    assert "Greet." in cpt_cli("-p", "hello.py", "--help").output


def test_an_observer_that_fails_is_logged_once_and_stops_nothing(tmp_path, caplog):
    from cpt.plugins.manager import load_plugins
    from cpt.run.events import Events

    (tmp_path / "watch.py").write_text(
        "import cpt\nseen = []\n@cpt.hookimpl\ndef cpt_step_ended(step):\n"
        "    seen.append(step)\n    raise ValueError('tired')\n"
    )
    plugins = load_plugins([str(tmp_path / "watch.py")])
    events = Events(plugins, tmp_path)
    for step in (1, 2):
        events("cpt_step_ended", step=step, steps=2)
    assert plugins.manager.get_plugin("watch").seen == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "plugin 'watch' failed in cpt_step_ended; the run goes on"
    ]


BUGGY = """
import attrs, cpt

@attrs.frozen
class Buggy(cpt.Pairer):
    name = "buggy"
    async def pair(self, prompt, ask): return 3

@attrs.frozen
class Stuck(cpt.Scheduler):
    name = "stuck"
    def batches(self, pairs, size, seed, epochs): yield [1 / 0]

@attrs.frozen
class Broken(cpt.Loss):
    name = "broken"
    def __call__(self, batch): return batch.nothing

@cpt.hookimpl
def cpt_pairers(): return [Buggy]

@cpt.hookimpl
def cpt_schedulers(): return [Stuck]

@cpt.hookimpl
def cpt_losses(): return [Broken]
"""


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (
            ["pair", "--prompts", "pairs.jsonl", "--pairer", "buggy"],
            "the pairer 'buggy' made pairs of prompt 'row-1'.",
        ),
        (
            ["train", "--pairs", "pairs.jsonl", "--model", "model", "--scheduler", "stuck"],
            "the scheduler 'stuck' ordered 1 pairs.",
        ),
        (
            ["train", "--pairs", "pairs.jsonl", "--model", "model", "--loss", "broken"],
            "the loss 'broken' was computed.",
        ),
    ],
)
def test_a_bug_in_a_component_is_told_with_its_name(tmp_path, line, note):
    tiny.folder(tmp_path / "model")
    (tmp_path / "mine.py").write_text(BUGGY)
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    command = [sys.executable, "-m", "cpt", "-p", "mine.py", *line, "--output", "run"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1 and "Traceback" in ended.stderr
    assert ended.stderr.rstrip().endswith(f"This happened while {note}")
