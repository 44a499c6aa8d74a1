"""What a script relies on is documented: variables, exit statuses, fields of `--json`, flags."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from cpt.asking.journal.queries import Charge, Status
from cpt.asking.money.estimates import Estimate
from cpt.cli import main
from cpt.config import options
from cpt.config.config import Config
from cpt.matches.advice import Advice
from cpt.matches.figures import Figures
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.run.results.gate import Check
from cpt.training.resources.estimate import TrainingEstimate

from .fresh import ROOT

PAGE = (ROOT / "docs" / "reference" / "command-line.md").read_text()
VARIABLE = re.compile(r"[A-Z]+(_[A-Z]+)*_(KEY|URL)")
LIKES = Path(__file__).parent / "plugins" / "likes.py"
RUNGS = ("large", "middle", "small")
LADDER = tuple(f"--pairer.rungs=recorded:examples/answers.jsonl#{rung}" for rung in RUNGS)

Cli = Callable[..., Result]


def names_in(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def table(title: str) -> dict[str, set[str]]:
    """The names in each row of a table, by its first cell."""
    section = PAGE.partition(f" {title}\n")[2].partition("\n#")[0]
    rows = [line.split(" | ", 1) for line in section.splitlines() if line.startswith("| ")]
    return {first.removeprefix("| "): names_in(rest) for first, rest in rows}


FIELDS = table("Fields of `--json`")


def fields_of(command: str) -> set[str]:
    """What the page says of a command."""
    (found,) = (fields for first, fields in FIELDS.items() if f"`{command}`" in first)
    return found


def variables() -> Iterator[str]:
    """The environment variables that the code reads, by name."""
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        text = path.read_text()
        if not re.search(r"environ|getenv|_KEY|_URL", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in READS and node.args:
                yield from texts(node.args[0])
            elif isinstance(node, ast.Constant) and VARIABLE.fullmatch(str(node.value)):
                yield str(node.value)


READS = ("os.environ.get", "environ.get", "os.getenv", "getenv")


def texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)


def test_every_variable_that_is_read_is_documented() -> None:
    known = names_in("".join(first for first in table("Environment variables")))
    known = {name.partition("=")[0] for name in known}
    read = set(variables())
    assert len(read) >= 9
    assert read - known == set()


def test_every_exit_status_is_documented() -> None:
    status = re.compile(r"^\s*(?:exit_code|[A-Z]+) = (\d+)$", re.MULTILINE)
    ends = re.compile(r"\bexit\(([A-Z][A-Za-z._]*)")
    files = [*(ROOT / "core" / "cpt").rglob("*.py")]
    used = {name for file in files for name in ends.findall(file.read_text())}
    assert used == {"REFUSED", "UNFINISHED", "UNJUDGED", "CptError.exit_code"}
    found = {number for file in files for number in status.findall(file.read_text())}
    assert {"1", "2", "130"} <= found
    for page in (PAGE, (ROOT / "docs" / "reference" / "errors.md").read_text()):
        assert {"0", "1", "2", "130"} == set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE))


@pytest.mark.parametrize(
    ("command", "record"),
    [
        ("pair", Charge),
        ("pair --dry-run", Estimate),
        ("train --dry-run", TrainingEstimate),
        ("respond --status", Status),
        ("gate", Check),
        ("winrate FILE", Figures),
        ("advise", Advice),
    ],
)
def test_every_field_of_a_record_is_documented(command: str, record: type[Any]) -> None:
    assert {field.name for field in attrs.fields(record)} - fields_of(command) == set()


DOTTED = re.compile(r"(?<![\w-])--(?:no-)?([a-z][\w-]*(?:\.[a-z0-9][\w-]*)+)")
OWN = re.compile(r"^    (\w+): ", re.MULTILINE)
"""A field of a component that the page itself writes."""
OPEN = {"extra_body", "chat_template_kwargs", "criteria", "lr_schedule_kwargs"}
"""Options that hold any names."""


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def within(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=within)
def test_every_flag_that_a_page_names_is_there(page: Path, named: set[str]) -> None:
    text = page.read_text()
    known = named | set(OWN.findall(text))
    for flag in sorted(set(DOTTED.findall(text)) - {"pairer.judge.bareable"}):
        parts = flag.replace("-", "_").split(".")
        ends = next((place for place, part in enumerate(parts) if part in OPEN), len(parts))
        assert {part for part in parts[:ends] if not part.isdigit()} <= known, flag


@pytest.fixture(scope="module")
def named() -> set[str]:
    """Every word that an address of an option may have."""
    components = Registry.collect(load_plugins()).components
    classes: list[type[Any]] = [Config, *components.values()]
    rows = [row for cls in classes for row in options.schema(cls)]
    fields = {field.name for field in attrs.fields(Config)}
    loaded = {name for _, name in components}
    return fields | loaded | {part for row in rows for part in row["name"].split(".")}


ASKED = ("--prompts", "examples/answers.jsonl")
LINE = (*ASKED, "--pairer", "ladder", *LADDER)
PAIRS = "run/pairs.parquet"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("pair", ("pair", *LINE, "--output", "other")),
        ("pair --dry-run", ("pair", *LINE, "--dry-run")),
        ("report RUN", ("report", "run")),
        (
            "respond",
            ("respond", *ASKED, "--responder=recorded:examples/answers.jsonl#small", "--output=r"),
        ),
        ("judge", ("judge", PAIRS, "-p", str(LIKES), "--judge", "likes", "--output", "judged")),
        ("doctor", ("doctor", PAIRS, "--fix", "fixed.jsonl")),
        ("export", ("export", PAIRS, "--format", "trl", "--output", "out.jsonl")),
        ("plugins", ("plugins",)),
        ("plugins --check", ("plugins", "--check")),
        ("show ROLE NAME", ("show", "loss", "sft")),
        ("show pairs", ("show", "pairs", PAIRS, "--limit", "1")),
        ("winrate FILE FILE...", ("winrate", "one.csv", "two.csv")),
    ],
)
def test_every_field_that_is_printed_is_documented(
    desk: Path,
    cpt_cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    line: tuple[str, ...],
) -> None:
    monkeypatch.chdir(desk)
    done = cpt_cli(*line, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    (*_, one) = printed if isinstance(printed, list) else [printed]
    assert set(one) and set(one) - fields_of(command) == set()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has pairs, and two files of verdicts."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "examples").symlink_to(ROOT / "examples")
    for file in ("one.csv", "two.csv"):
        rows = ["prompt,preference,output_1,output_2", *(f"{n},{n % 2 + 1},a,bb" for n in range(6))]
        (folder / file).write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(main, ["pair", *LINE, "--output", "run"], prog_name="cpt")
    assert done.exit_code == 0, done.output
    return folder
