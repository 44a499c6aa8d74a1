"""The plugin host: what loads, what does not, and how a user sees it."""

import json
import subprocess
import sys
import textwrap
from inspect import signature

import pytest
import yaml

from cpt import hookspecs

from . import tiny

HINGE = textwrap.dedent('''
    import attrs, cpt

    @attrs.frozen
    class Hinge(cpt.Loss):
        """Stop pushing once the margin is wide enough."""
        name = "clearance"
        width: float = 1.0
        """The margin that is enough."""

        def __call__(self, batch):
            return (self.width - (batch.chosen.ratio - batch.rejected.ratio)).relu()

    @cpt.hookimpl
    def cpt_losses():
        return [Hinge]
''')


def trainable(folder):
    """Put a model and a pair in a folder."""
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    (folder / "pairs.jsonl").write_text(json.dumps(row))
    tiny.folder(folder / "model")


def test_a_single_file_is_a_plugin(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(HINGE)
    shown = cpt_cli("-p", "mine.py", "show", "loss", "clearance")
    assert "Stop pushing once" in shown.output
    assert "--loss.width" in shown.output


def test_plugins_come_from_the_environment_too(cpt_cli, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(HINGE)
    monkeypatch.setenv("CPT_PLUGINS", "mine.py,no:apo")
    output = cpt_cli("show", "loss").output
    assert "clearance" in output
    assert "apo_zero" not in output


ALL_OF_APO = ("apo_zero", "apo_down", "apo_hinge_zero", "apo_zero_unpaired", "auto")


def test_the_list_has_name_source_status_hooks_components_and_time(cpt_cli):
    plugins = {plugin["name"]: plugin for plugin in json.loads(cpt_cli("plugins", "--json").stdout)}
    assert plugins["apo"]["hooks"] == ["cpt_losses"]
    assert plugins["apo"]["source"] == "contrastive-post-training"
    assert plugins["apo"]["status"] == "loaded"
    assert plugins["apo"]["error"] is None
    names = [{"role": "loss", "name": name} for name in ALL_OF_APO]
    assert plugins["apo"]["components"] == names
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


def broken(cpt_cli, name, why):
    """Whether a plugin is listed as broken, in one line, and the rest works."""
    listed = cpt_cli("-p", name, "plugins")
    assert listed.exit_code == 0
    line = next(line for line in listed.stdout.splitlines() if line.startswith("mine "))
    plugins = json.loads(cpt_cli("-p", name, "plugins", "--json").stdout)
    (error,) = (plugin["error"] for plugin in plugins if plugin["status"] == "broken")
    assert line.split()[1] == "broken" and line.endswith(error) and why in error
    assert "apo_zero" in cpt_cli("-p", name, "show", "loss").stdout
    assert cpt_cli("-p", name, "--help").exit_code == 0
    refused = cpt_cli("-p", name, "pair", "--preset", "lab")
    assert refused.exit_code == 2 and len(refused.stderr.splitlines()) == 1
    return why in refused.stderr and "Traceback" not in refused.stderr


HOOKS = {
    "cpt_losses": "must return a list",
    "cpt_responders": "must return a list",
    "cpt_judges": "must return a list",
    "cpt_pairers": "must return a list",
    "cpt_filters": "must return a list",
    "cpt_schedulers": "must return a list",
    "cpt_evaluators": "must return a list",
    "cpt_observers": "must return a list",
    "cpt_commands": "must return a list",
    "cpt_paths": "must be a dictionary",
    "cpt_presets": "must be a dictionary",
}


def test_every_hook_that_offers_something_is_tried_below():
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("cpt_")}
    events = {name for name, hook in hooks.items() if "output" in signature(hook).parameters}
    assert HOOKS.keys() == hooks.keys() - events


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("returned", ["3", "None", "'text'", "1 / 0", "sys.exit(4)"])
def test_a_hook_that_raises_or_returns_nonsense_breaks_only_its_plugin(
    cpt_cli, tmp_path, hook, returned
):
    (tmp_path / "mine.py").write_text(
        f"import sys, cpt\n@cpt.hookimpl\ndef {hook}():\n    return {returned}\n"
    )
    raised = {"1 / 0": "ZeroDivisionError: division by zero", "sys.exit(4)": "SystemExit: 4"}
    wrong = f"TypeError: {hook} {HOOKS[hook]}, got {returned}"
    assert broken(cpt_cli, "mine.py", raised.get(returned, wrong))


@pytest.mark.parametrize(
    ("hook", "returned", "why"),
    [
        ("cpt_losses", "[dict]", "classes derived from cpt.Loss, got <class 'dict'>"),
        ("cpt_losses", "[Nameless]", "mine.Nameless has no name; write `name = ...` in the class"),
        ("cpt_losses", "[Undecorated]", "mine.Undecorated has fields; decorate it with @attrs"),
        ("cpt_losses", "[Counted]", "mine.Counted has fields; decorate it with @attrs.frozen"),
        (
            "cpt_losses",
            "[Typed]",
            "mine.Typed: `name` has a type, which makes it an option; write `name = ...` without",
        ),
        (
            "cpt_losses",
            "[Bare]",
            "mine.Bare: `beta` has no type, so it is no option; write `beta: TYPE = ...` (or",
        ),
        ("cpt_losses", "[BareField]", "mine.BareField: `beta` has no type, so it is no option"),
        (
            "cpt_losses",
            "[Blank]",
            "cpt_losses: the name 'my loss' cannot be typed; it may have letters, digits, _, .",
        ),
        ("cpt_losses", "[Fine, Fine]", "cpt_losses returned two things called 'fine'"),
        (
            "cpt_losses",
            "[Unknown]",
            "mine.Unknown: `needs` has the unknown word 'refrence'. Did you mean 'reference'? "
            "There are: rejected, ",
        ),
        (
            "cpt_losses",
            "[Listed]",
            "mine.Listed: `needs` must be a set of words, as in frozenset({'rejected'}), "
            "got ['rejected']",
        ),
        ("cpt_losses", "[Text]", "mine.Text: `needs` must be a set of words, as in"),
        ("cpt_commands", "[3]", "cpt_commands must return commands of click, got 3"),
        ("cpt_paths", "{'x': 3}", "cpt_paths: 'x' must be a function that makes a path, got 3"),
        ("cpt_paths", "{3: print}", "cpt_paths: the name 3 cannot be typed"),
        ("cpt_presets", "{'x': 3}", "cpt_presets: x must be a dictionary, got 3"),
        (
            "cpt_presets",
            "{'x': {'options': {'loss': {'dpo': 3}}}}",
            "cpt_presets: x: options: loss: dpo must be a dictionary, got 3",
        ),
    ],
)
def test_a_hook_that_returns_something_wrong_breaks_only_its_plugin(
    cpt_cli, tmp_path, hook, returned, why
):
    (tmp_path / "mine.py").write_text(
        f"{WRONG}@cpt.hookimpl\ndef {hook}():\n    return {returned}\n"
    )
    assert broken(cpt_cli, "mine.py", why)


WRONG = """
from typing import ClassVar
import attrs, cpt

class Nameless(cpt.Loss):
    def __call__(self, batch): return batch

@attrs.frozen
class Fine(Nameless):
    name = "fine"
    LIMIT = 3
    width: float = 1.0
    kind: ClassVar[str] = "fine"
    needs = frozenset()

class Undecorated(Nameless):
    name = "undecorated"
    beta: float = 0.1

class Counted(Nameless):
    name = "counted"
    beta = attrs.field(default=0.1)

@attrs.frozen
class Typed(Nameless):
    name: str = "typed"

@attrs.frozen
class Bare(Nameless):
    name = "bare"
    beta = 0.1

@attrs.frozen
class BareField(Nameless):
    name = "bare_field"
    beta = attrs.field(default=0.1)

@attrs.frozen
class Blank(Nameless):
    name = "my loss"

@attrs.frozen
class Unknown(Nameless):
    name = "unknown"
    needs = frozenset({"refrence"})

@attrs.frozen
class Listed(Nameless):
    name = "listed"
    needs = ["rejected"]

@attrs.frozen
class Text(Nameless):
    name = "text"
    needs = "rejected"

"""


def test_what_is_right_is_loaded(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(f"{WRONG}@cpt.hookimpl\ndef cpt_losses():\n    yield Fine\n")
    (shown,) = json.loads(cpt_cli("-p", "mine.py", "show", "loss", "fine", "--json").stdout)
    assert [option["name"] for option in shown["options"]] == ["width"]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "it has no hooks; a hook is a function called cpt_..., marked with @cpt.hookimpl"),
        (
            "def cpt_losses(): return []",
            "cpt_losses is not marked as a hook; write @cpt.hookimpl above it",
        ),
        (
            "@cpt.hookimpl\ndef cpt_judges(): return []\ndef cpt_loses(): return []",
            "cpt_loses is not marked as a hook",
        ),
        (
            "@cpt.hookimpl\ndef cpt_loses(): return []",
            "unknown hook 'cpt_loses'. Did you mean 'cpt_losses'?",
        ),
        (
            f"{HINGE}\nclass Wide(Hinge):\n    name = 'wide'\n    width = 2.0\n",
            "TypeError: mine.Wide: `width` has no type, so the option keeps its default; "
            "write `width: TYPE = ...`",
        ),
        (
            "@cpt.hookimpl\ndef cpt_step_ended(stp): pass",
            "ValueError: cpt_step_ended has no argument 'stp'. There are: output, step, steps,",
        ),
        (
            "import attrs\n@attrs.frozen\nclass Deaf(cpt.Observer):\n    name = 'deaf'\n"
            "    def cpt_step_ended(self, step): pass\n"
            "@cpt.hookimpl\ndef cpt_observers(): return [Deaf]",
            "mine.Deaf: cpt_step_ended is not marked as a hook; write @cpt.hookimpl above it",
        ),
        ("@cpt.hookimpl\ndef cpt_frobnicate(): return []", "unknown hook 'cpt_frobnicate'."),
        (
            "@cpt.hookimpl\ndef cpt_losses(batch): return []",
            "ValueError: cpt_losses has no argument 'batch'. It takes none.",
        ),
    ],
)
def test_what_would_silently_do_nothing_breaks_its_plugin(cpt_cli, tmp_path, written, why):
    (tmp_path / "mine.py").write_text(f"import cpt\n{written}\n")
    assert broken(cpt_cli, "mine.py", why)


DEFERRED = """
import cpt

@cpt.hookimpl
def cpt_losses():
    return {places}
"""


def deferring(folder, **places):
    (folder / "lazily.py").write_text(DEFERRED.format(places=places))
    (folder / "some_losses.py").write_text(HINGE)


def test_a_component_can_be_imported_when_it_is_picked(cpt_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("CPT_PLUGINS", "lazily.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_losses", raising=False)
    deferring(tmp_path, clearance="some_losses:Hinge")
    assert cpt_cli("--help").exit_code == 0 and "some_losses" not in sys.modules
    assert "--loss.width" in cpt_cli("--loss", "clearance", "--help").output
    assert (
        json.loads(cpt_cli("show", "loss", "clearance", "--json").output)[0]["class"]
        == "some_losses.Hinge"
    )
    listed = json.loads(cpt_cli("plugins", "--json").output)
    (components,) = (plugin["components"] for plugin in listed if plugin["name"] == "lazily")
    assert components == [{"role": "loss", "name": "clearance"}]


@pytest.mark.parametrize(
    ("name", "place", "why"),
    [
        ("clearance", "nowhere_at_all:Hinge", "No module named 'nowhere_at_all'"),
        ("clearance", "some_losses:Hing", "some_losses has no 'Hing'"),
        ("clearance", "json:JSONEncoder", "must return classes derived from cpt.Loss"),
        ("other", "some_losses:Hinge", "some_losses:Hinge is called 'clearance', not 'other'"),
    ],
)
def test_a_wrong_place_breaks_only_who_picks_it(cpt_cli, tmp_path, monkeypatch, name, place, why):
    monkeypatch.syspath_prepend(str(tmp_path))
    deferring(tmp_path, **{name: place})
    picked = cpt_cli("-p", "lazily.py", "--loss", name, "--help")
    assert picked.exit_code == 2 and len(picked.stderr.splitlines()) == 1
    assert f"the loss '{name}' ({place}) cannot be loaded: " in picked.stderr
    assert why in picked.stderr
    assert cpt_cli("-p", "lazily.py", "--loss", "dpo", "--help").exit_code == 0
    (line,) = (
        line
        for line in cpt_cli("-p", "lazily.py", "plugins").stdout.splitlines()
        if line.startswith("lazily ")
    )
    assert line.split()[1] == "broken" and why in line


def test_a_place_that_is_none_breaks_its_plugin(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(DEFERRED.format(places={"clearance": "mine.Hinge"}))
    assert broken(cpt_cli, "mine.py", "cpt_losses: 'clearance' must be the text 'MODULE:CLASS'")


def test_a_helper_whose_name_is_like_no_hook_is_none(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(f"{HINGE}\ndef cpt_home():\n    return 'x'\n")
    assert "clearance" in cpt_cli("-p", "mine.py", "show", "loss").stdout


def test_an_option_that_is_a_list_is_refused(cpt_cli, tmp_path):
    """A text given to it would be a list of its letters."""
    (tmp_path / "mine.py").write_text(
        HINGE.replace("width: float = 1.0", "width: list[str] = attrs.field(factory=list)")
    )
    refused = cpt_cli("-p", "mine.py", "train", "--loss", "clearance", "--loss.width", "abc")
    assert refused.exit_code == 2
    assert "cpt: loss.width: mine.Hinge has a list[str] there" in refused.stderr


def test_an_option_that_a_plugin_has_no_more_says_where_it_stands(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(HINGE)
    trainable(tmp_path)
    line = ("-p", "mine.py", "train", "--output", "run")
    made = cpt_cli(*line, "--loss", "clearance", "--pairs", "pairs.jsonl", "--model", "model")
    assert made.exit_code == 0, made.output
    (tmp_path / "mine.py").write_text(HINGE.replace("width", "breadth"))
    again = cpt_cli(*line)
    assert again.exit_code == 2
    assert "loss.width: no such option. There are: breadth. (from run/run.yaml; a" in again.stderr
    without = cpt_cli("train", "--output", "run")
    assert "No loss is called 'clearance'." in without.stderr and "add -p FILE.py" in without.stderr


def test_a_name_that_two_plugins_offer_concerns_only_who_picks_it(cpt_cli, tmp_path):
    (tmp_path / "twin.py").write_text(HINGE.replace('"clearance"', '"dpo"'))
    assert "--loss.beta" in cpt_cli("-p", "twin.py", "--loss", "apo_zero", "--help").output
    listed = cpt_cli("-p", "twin.py", "show", "loss").stdout
    assert "twin/dpo" in listed and "dpo/dpo" in listed
    for line in (["--loss", "dpo"], ["show", "loss", "dpo"], ["--loss", "dpo:1"]):
        picked = cpt_cli("-p", "twin.py", *line)
        assert (picked.exit_code, picked.stderr) == (
            2,
            "cpt: 2 plugins offer a loss called 'dpo': dpo, twin. "
            "Pick one with dpo/dpo or twin/dpo.\n",
        )
    assert "Stop pushing" in cpt_cli("-p", "twin.py", "show", "loss", "twin/dpo").stdout
    assert "--loss.width" in cpt_cli("-p", "twin.py", "--loss", "twin/dpo", "--help").output
    assert "--loss.beta" in cpt_cli("-p", "twin.py", "--loss", "dpo/dpo", "--help").output
    assert "Stop" in cpt_cli("-p", "twin.py", "-p", "no:dpo", "show", "loss", "dpo").stdout
    assert "share" in cpt_cli("show", "loss", "dpo/dpo").stdout  # also where one is enough


def test_one_of_two_can_be_picked_wherever_components_are_picked(cpt_cli, tmp_path, monkeypatch):
    (tmp_path / "twin.py").write_text(TWIN_RESPONDER)
    (tmp_path / "run.yaml").write_text("responder: {name: twin/server, manners: good}")
    listed = cpt_cli("-p", "twin.py", "respond", "--config", "run.yaml")
    assert "--prompts must be given" in listed.stderr
    monkeypatch.setenv("CPT_PAIRER", "ladder")
    (tmp_path / "p.jsonl").write_text('{"prompt": "Why?"}')
    line: tuple[str, ...] = ("-p", "twin.py", "pair", "--prompts", "p.jsonl", "--output", "run")
    line = (*line, "--pairer.rungs", "twin/server:fine", "--pairer.rungs")
    assert "2 plugins offer a responder called 'server'" in cpt_cli(*line, "server:m").stderr
    monkeypatch.setenv("CPT_PAIRER__RUNGS__1__MANNERS", "rude")
    made = cpt_cli(*line, "twin/server")
    assert made.exit_code == 0, made.output
    recorded = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["options"]["pairer"]
    assert recorded["rungs"] == [
        {"name": "twin/server", "manners": "fine"},
        {"name": "twin/server", "manners": "rude"},
    ]


TWIN_RESPONDER = """
import attrs, cpt

@attrs.frozen
class Server(cpt.Local):
    "Answers politely."
    name = "server"
    manners: str = "good"
    def answer_all(self, requests):
        return [
            cpt.Response(prompt_id=prompt.id, text=f"Yes, {self.manners}.", author=self.manners)
            for prompt, _ in requests
        ]

@cpt.hookimpl
def cpt_responders(): return [Server]
"""


def test_a_run_goes_on_where_its_name_is_offered_twice_now(cpt_cli, tmp_path):
    """Picking one with `PLUGIN/NAME` keeps the options that were recorded under the name."""
    (tmp_path / "mine.py").write_text(HINGE)
    line = ("-p", "mine.py", "train", "--output", "run")
    trainable(tmp_path)
    made = cpt_cli(
        *line,
        "--loss",
        "clearance",
        "--loss.width",
        "2",
        "--pairs",
        "pairs.jsonl",
        "--model",
        "model",
    )
    assert made.exit_code == 0, made.output
    (tmp_path / "new.py").write_text(HINGE)
    clash = cpt_cli("-p", "new.py", *line)
    assert "2 plugins offer a loss called 'clearance': new, mine." in clash.stderr
    again = cpt_cli("-p", "new.py", *line, "--loss", "mine/clearance")
    assert again.exit_code == 0, again.output
    assert "done" not in again.stderr  # nothing was trained again: the options are the same
    other = cpt_cli("-p", "new.py", *line, "--loss", "new/clearance")
    assert other.exit_code == 2 and "new.py" in other.stderr


def test_presets_paths_and_commands_of_one_name_can_be_picked_too(cpt_cli, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "import click, cpt\n"
            f"@click.command()\ndef report():\n    click.echo('{name}')\n"
            f"@click.command()\ndef hello():\n    click.echo('{name}')\n"
            "@cpt.hookimpl\ndef cpt_commands(): return [report, hello]\n"
            "@cpt.hookimpl\n"
            f"def cpt_presets(): return {{'quick': {{'loss': {{'beta': '{name}'}}}}}}\n"
            f"@cpt.hookimpl\ndef cpt_paths(): return {{'at': lambda rest: '{name}.' + rest}}\n"
        )
    tiny.folder(tmp_path / "model")
    both = ("-p", "one.py", "-p", "two.py")
    listed = [line.split()[0] for line in cpt_cli(*both, "--help").output.splitlines() if line]
    assert listed.count("report") == 1
    assert {"one/report", "two/report", "one/hello", "two/hello"} <= set(listed)
    assert cpt_cli(*both, "two/report").output == "two\n"
    assert "run folder" in cpt_cli(*both, "report", "--help").output
    assert cpt_cli("-p", "one.py", "hello").output == "one\n"
    assert cpt_cli(*both, "hello").stderr == (
        "cpt: 2 plugins offer a command called 'hello': one, two. "
        "Pick one with one/hello or two/hello.\n"
    )
    line = ("train", "--pairs", "p.jsonl", "--model", "m")
    refused = cpt_cli(*both, *line, "--preset", "quick")
    assert "2 plugins offer a preset called 'quick'" in refused.stderr
    picked = cpt_cli(*both, *line, "--preset", "two/quick")
    assert "loss.beta: expected a number, got 'two'" in picked.stderr
    refused = cpt_cli(*both, "train", "--pairs", "at:x", "--model", "m")
    assert "2 plugins offer a path scheme called 'at'" in refused.stderr
    assert "one.x" in cpt_cli(*both, "train", "--pairs", "one/at:x", "--model", "model").stderr


def test_a_path_scheme_that_returns_no_path_is_one_line(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import cpt\n@cpt.hookimpl\ndef cpt_paths(): return {'at': lambda rest: None}\n"
    )
    refused = cpt_cli("-p", "mine.py", "train", "--pairs", "at:x", "--model", ".")
    assert refused.stderr == "cpt: at:x: the path scheme 'at' must return a path, got None.\n"


def test_two_plugins_of_one_name_stay_visible(cpt_cli, tmp_path):
    (tmp_path / "apo.py").write_text(HINGE)
    output = cpt_cli("-p", "apo.py", "plugins").output
    assert "the name 'apo' is taken by contrastive-post-training" in output
    assert "apo_zero" in cpt_cli("-p", "apo.py", "show", "loss").output


@pytest.mark.parametrize("name", ["cpt_apo", "apo"])
def test_a_plugin_that_is_loaded_already_is_not_loaded_twice(cpt_cli, name):
    plugins = json.loads(cpt_cli("-p", name, "-p", name, "plugins", "--json").stdout)
    assert [plugin["status"] for plugin in plugins if "apo" in plugin["name"]] == ["loaded"]
    assert "apo_zero" in cpt_cli("-p", name, "show", "loss").stdout


def test_a_file_that_is_named_is_blocked_too(cpt_cli, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(HINGE)
    for line in (["-p", "mine.py", "-p", "no:mine"], ["-p", "no:mine", "-p", "mine.py"]):
        plugins = json.loads(cpt_cli(*line, "plugins", "--json").stdout)
        assert [plugin["status"] for plugin in plugins if plugin["name"] == "mine"] == ["blocked"]
        missing = cpt_cli(*line, "--loss", "clearance")
        assert missing.exit_code == 2
        assert "A blocked plugin may offer it: mine." in missing.stderr
    monkeypatch.setenv("CPT_PLUGINS", "mine.py")
    assert "clearance" not in cpt_cli("-p", "no:mine", "show", "loss").stdout


def test_what_a_plugin_prints_is_not_between_the_results(tmp_path):
    """Neither as it is loaded, nor while it works, nor by a process that it starts."""
    (tmp_path / "loud.py").write_text(LOUD)
    (tmp_path / "p.jsonl").write_text('{"prompt": "Why?", "responses": {"x": "one", "y": "two"}}')
    rungs = [word for who in "xy" for word in ("--pairer.rungs", f"recorded:p.jsonl#{who}")]
    line = ["-p", "loud.py", "pair", "--prompts", "p.jsonl", "--pairer", "ladder", *rungs]
    command = [sys.executable, "-m", "cpt", *line, "--output", "run", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["stages"]["pairs"]["pairs"] == 1
    for said in ("loaded", "offers", "observes", "starts"):
        assert said in done.stderr.splitlines()
    show = [sys.executable, "-m", "cpt", "-p", "loud.py", "show", "loss"]
    shown = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "loaded" not in shown.stdout.split() and "loaded" in shown.stderr.split()


LOUD = """
import os, subprocess, cpt
print("loaded")

@cpt.hookimpl
def cpt_losses():
    print("offers")
    return []

@cpt.hookimpl
def cpt_stage_ended():
    print("observes")
    subprocess.run(["echo", "starts"])
"""


def test_a_command_of_a_plugin_may_print_json(cpt_cli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import click, cpt\n"
        "@click.command()\n@click.option('--json', is_flag=True)\n"
        "def hello(json):\n    click.echo('[]')\n"
        "@cpt.hookimpl\ndef cpt_commands(): return [hello]\n"
    )
    assert cpt_cli("-p", "mine.py", "hello", "--json").stdout == "[]\n"


def test_a_plugin_can_be_blocked_and_is_listed_as_such(cpt_cli):
    assert "apo_zero" not in cpt_cli("-p", "no:apo", "show", "loss").output
    plugins = json.loads(cpt_cli("-p", "no:apo", "plugins", "--json").stdout)
    assert [plugin["status"] for plugin in plugins if plugin["name"] == "apo"] == ["blocked"]


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
    watch = plugins.manager.get_plugin("watch")
    assert watch is not None and watch.seen == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "plugin 'watch' failed in cpt_step_ended; the run continues"
    ]


OBSERVER = """
import attrs, cpt

@attrs.frozen
class Counter(cpt.Observer):
    "Counts stages."
    name = "counter"
    file: str = "count"
    _seen: list = attrs.field(factory=list, init=False)

    @cpt.hookimpl
    def cpt_stage_ended(self, output, stage):
        self._seen.append(stage)
        (output / self.file).write_text(" ".join(self._seen))

@cpt.hookimpl
def cpt_observers(): return [Counter]
"""


@pytest.mark.parametrize("said", ["flag", "file", "environment"])
def test_an_observer_has_options_at_one_address(cpt_cli, tmp_path, monkeypatch, said):
    (tmp_path / "mine.py").write_text(OBSERVER)
    (tmp_path / "p.jsonl").write_text('{"prompt": "Why?", "responses": {"x": "one", "y": "two"}}')
    rungs = [word for who in "xy" for word in ("--pairer.rungs", f"recorded:p.jsonl#{who}")]
    line = ["-p", "mine.py", "pair", "--prompts", "p.jsonl", "--pairer", "ladder", *rungs]
    line += ["--output", "run"]
    if said == "flag":
        line += ["--observers", "counter", "--observers.file", "mine"]
    elif said == "file":
        (tmp_path / "run.yaml").write_text("observers: [{name: counter, file: mine}]")
        line += ["--config", "run.yaml"]
    else:
        monkeypatch.setenv("CPT_OBSERVERS", "counter")
        monkeypatch.setenv("CPT_OBSERVERS__FILE", "mine")
    made = cpt_cli(*line)
    assert made.exit_code == 0, made.output
    assert (tmp_path / "run" / "mine").read_text() == "prompts pairs"
    if said != "flag":
        twice = cpt_cli(*line, "--redo", "--observers", "counter", "--observers", "counter")
        assert twice.exit_code == 0, twice.output


BUGGY = """
import attrs, cpt

@attrs.frozen
class Buggy(cpt.Pairer):
    name = "buggy"
    async def pair(self, prompt, ask): return prompt.nothing

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


def test_a_component_that_ends_the_process_is_told_with_its_name(commands, tmp_path):
    trainable(tmp_path)
    leaving = BUGGY.replace("return batch.nothing", "raise SystemExit(0)")
    (tmp_path / "mine.py").write_text(leaving)
    line = ["train", "--pairs", "pairs.jsonl", "--model", "model", "--loss", "broken"]
    ended = commands.one("-p", "mine.py", *line, "--output", "run", cwd=tmp_path)
    assert ended.status == 2
    assert "sys.exit(0) was called while the loss 'broken' was computed" in ended.err


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
def test_a_bug_in_a_component_is_told_with_its_name(commands, tmp_path, line, note):
    trainable(tmp_path)
    (tmp_path / "mine.py").write_text(BUGGY)
    ended = commands.one("-p", "mine.py", *line, "--output", "run", cwd=tmp_path)
    assert ended.status == 1 and "Traceback" in ended.err
    assert ended.err.rstrip().endswith(f"This happened while {note}")
