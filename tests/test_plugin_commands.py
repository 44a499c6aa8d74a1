"""Options of plugins' commands come from a file and the environment, as those of a run do."""

from __future__ import annotations

from pathlib import Path

import pytest

PLUGIN = """
import click, cpt


@click.command()
@click.option("--times", type=click.IntRange(1, 9), default=1)
@click.option("--loud", is_flag=True)
@click.option("--to", multiple=True)
@click.option("--name", default="nobody")
def greet_all(times, loud, to, name):
    click.echo(f"{times} {loud} {','.join(to)} {name}")


@click.group()
def tools():
    pass


@tools.command("dry-run")
@click.option("--config", default="of its own")
@click.option("--n", type=int, default=1)
def dry_run(config, n):
    click.echo(f"{config} {n}")


@click.command()
@click.option("--config", default="of its own")
@click.option("--n", type=int, default=1)
def own(config, n):
    click.echo(f"{config} {n}")


@cpt.hookimpl
def cpt_commands():
    return [greet_all, tools, own]
"""
GREET, TIMES = ("greet-all", "commands.greet_all.times")


@pytest.fixture
def run(cpt_cli, tmp_path, monkeypatch):
    """Runs a command of the plugin with options in YAML and in the environment."""
    plugin = tmp_path / "hello.py"
    plugin.write_text(PLUGIN)

    def run(*line, yaml="", **variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"CPT_COMMANDS__{name}", value)
        Path("given.yaml").write_text(yaml)
        return cpt_cli("-p", plugin, *line)

    return run


FILE = (GREET, "--config", "given.yaml")
ALL = "commands:\n  greet-all: {times: 3, loud: true, to: [a, b], name: x}\n"


@pytest.mark.parametrize(
    ("line", "yaml", "variables", "printed"),
    [
        ((GREET,), "", {}, "1 False  nobody"),
        (FILE, ALL, {}, "3 True a,b x"),
        (FILE, f"{TIMES}: 3\nloss: dpo", {}, "3 False  nobody"),
        (FILE, ALL, {"GREET_ALL__TIMES": "5", "GREET_ALL__LOUD": "no"}, "5 False a,b x"),
        ((GREET,), "", {"GREET_ALL__TO": "me"}, "1 False me nobody"),
        ((*FILE, "--times", "7"), ALL, {"GREET_ALL__TIMES": "5"}, "7 True a,b x"),
        (("tools", "dry-run"), "", {"TOOLS__DRY_RUN__N": "4"}, "of its own 4"),
        (
            ("tools", "--config", "given.yaml", "dry-run", "--config", "c"),
            "commands: {tools: {dry-run: {n: 4}}}",
            {},
            "c 4",
        ),
        (("own", "--config", "c"), "", {"OWN__N": "2"}, "c 2"),
    ],
)
def test_they_have_addresses(run, line, yaml, variables, printed) -> None:
    result = run(*line, yaml=yaml, **variables)
    assert (result.exit_code, result.output) == (0, f"{printed}\n")


@pytest.mark.parametrize(
    ("yaml", "variables", "said"),
    [
        (
            "commands: {greet_all: {tims: 3}}",
            {},
            "commands.greet_all.tims: no such option. Did you mean 'times'? "
            "There are: times, loud, to, name. (from given.yaml)",
        ),
        (f"{TIMES}: 10", {}, f"{TIMES}: 10 is not in the range 1<=x<=9. (from given.yaml)"),
        ("commands: {greet_all: 3}", {}, "commands.greet_all: expected options by name, got 3."),
        ("", {"GREET_ALL__TIMES": "x"}, "(from CPT_COMMANDS__GREET_ALL__TIMES)"),
    ],
)
def test_what_does_not_fit_is_one_line_with_its_address(run, yaml, variables, said) -> None:
    result = run(*FILE, yaml=yaml, **variables)
    assert result.exit_code == 2 and said in result.stderr and result.stderr.count("\n") == 1


def test_a_run_and_the_help_do_not_read_them(run) -> None:
    yaml = "commands: {greet_all: {times: lots}}"
    line = ("pair", "--config", "given.yaml", "--limit", "9", "--dry-run", "--json")
    result = run(*line, yaml=yaml, GREET_ALL__LOUD="what")
    assert result.exit_code == 0, result.output
    assert "greet-all" in run("--help").output
