"""What the documentation says is what happens.

A fenced block is run if its first line says so:

    ```bash run            a script; it must succeed
    ```console run         `$ command` and what it prints, with progress or without; `...`
                           stands for anything
    ```python run          a script for the Python that cpt is installed in
    ```toml file=NAME      a file that later blocks use, in any language

The blocks of a page run in order, in one folder, in a fresh environment. The folder holds a model
in `student/` and the examples; `openai` talks to a server here that revises whatever it is sent, or
prefers the first of two answers.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

import cpt
from cpt import hookspecs
from cpt.cli import main
from cpt.config import options
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry

from .conftest import DONE, LOADED
from .fresh import ROOT, Environment
from .threaded import completion, served
from .warm import WarmPython

PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
FENCE = re.compile(r"^```(\w+) ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REVISION = "{teacher_reasoning}\nBe clear.\n{corrected_student_solution}\nIt is four."
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@attrs.frozen
class Block:
    """A fenced block that is more than text."""

    language: str
    rest: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from .tiny import folder

    return folder(tmp_path_factory.mktemp("model"), max_position_embeddings=2048)


@pytest.fixture(scope="module")
def reviser() -> Iterator[str]:
    """The address of an endpoint that gives the same revision to everything; as a judge of two
    answers it always prefers the first."""
    with served(completion(REVISION), **{"You compare two": completion("[[A]]")}) as address:
        yield f"{address}/v1"


@attrs.frozen
class Reader:
    """Someone who does what a page says."""

    folder: Path
    variables: Mapping[str, str]

    def follow(self, block: Block) -> None:
        if block.rest.startswith("file="):
            file = self.folder / block.rest.removeprefix("file=")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        else:
            assert block.rest == "run", f"what is {block.rest!r}?"
            {"bash": self.bash, "console": self.console, "python": self.python}[block.language](
                block.text
            )

    def bash(self, script: str) -> tuple[str, str]:
        """Run a script: what it printed as results, and beside them."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=dict(self.variables),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}{done.stdout}"
        return done.stdout, done.stderr

    def python(self, script: str) -> None:
        (self.folder / "block.py").write_text(script)
        self.bash("python block.py && rm block.py")

    def console(self, text: str) -> None:
        """Give every command, and see that it prints what stands below it."""
        for command, expected in commands(text):
            results, beside = self.bash(command)
            same = not expected or says(results, expected) or says(beside + results, expected)
            assert same, f"$ {command}\n{beside}{results}\n--- the page says ---\n{expected}"


@pytest.fixture(scope="module")
def variables(
    installed: Environment, reviser: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """The environment of a reader's shell. Its programs are those of the fresh environment, forked
    from a Python that has loaded the libraries: a page pays only for what it does."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "prices.yaml").write_text('"*": {gpt-4.1: {input: 2, output: 8}}')
    given = installed.variables | {
        "COLUMNS": "100",
        # The endpoint is one of ours, and nobody knows what it takes.
        "CPT_ASKING__PRICES": str(folder / "prices.yaml"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENAI_API_KEY": "unused",
        "OPENAI_BASE_URL": reviser,
    }
    python = installed.folder / "bin" / "python"
    server = WarmPython(folder, LOADED, DONE, python, cwd=folder, env=given)
    programs = folder / "bin"
    programs.mkdir()
    server.script(programs / "python")
    for name in ("cpt", "pytest", "torchrun"):
        server.script(programs / name, installed.folder / "bin" / name)
    yield given | {
        "PATH": f"{programs}{os.pathsep}{given['PATH']}",
        "PYTHON_EXEC": str(programs / "python"),  # what torchrun starts
    }
    server.close()


@pytest.fixture
def environment(installed: Environment) -> Iterator[Environment]:
    """The fresh environment, in which nothing stays installed."""
    before = set(installed.packages.iterdir())
    yield installed
    for path in set(installed.packages.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that is made by the first page that needs it."""
    return tmp_path_factory.mktemp("lab")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=named)
def test_the_page_runs(
    page: Path,
    tmp_path: Path,
    environment: Environment,
    variables: Mapping[str, str],
    student: Path,
    lab: Path,
) -> None:
    desk, cache = tmp_path / "desk", tmp_path / "cache"
    desk.mkdir()
    (desk / "student").symlink_to(student)
    (desk / "examples").symlink_to(ROOT / "examples")
    cache.mkdir()
    (cache / "lab").symlink_to(lab)
    reader = Reader(desk, {**variables, "CPT_CACHE": str(cache)})
    for block in blocks(page):
        reader.follow(block)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each `$ command`, continued by a backslash at its end, with the text below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        match = re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n?(.*)", part, re.DOTALL)
        assert match is not None
        yield match[1], match[2].strip("\n") + "\n" if match[2].strip() else ""


def says(printed: str, expected: str) -> bool:
    """Whether these are the same words, `...` standing for any."""
    parts = (r"\s+".join(map(re.escape, part.split())) for part in expected.split("..."))
    return re.fullmatch(r"\s*" + r"\s*.*\s*".join(parts) + r"\s*", printed, re.DOTALL) is not None


def generator() -> Any:
    """The module that writes the reference."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_says_what_the_code_says() -> None:
    stale = [path.name for path, text in generator().pages() if path.read_text() != text]
    assert not stale, "run `make docs`"


def test_everything_public_is_in_the_reference_with_what_it_does() -> None:
    reference = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    generate = generator()
    for module in generate.PUBLIC:
        assert f"`{module.__name__}`" in reference
        for name in generate.public_names(module):
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                doc = inspect.getdoc(thing) or ""
                assert doc and doc in reference, f"{module.__name__}.{name}"


def test_bundled_plugins_import_only_what_is_public() -> None:
    """A stranger can do what they do."""
    public = {module.__name__ for module in generator().PUBLIC}
    private = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in (ROOT / "plugins").rglob("*.py")
        for module in _imported_of_cpt(path)
        if module not in public
    }
    assert private == set()


def _imported_of_cpt(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] == "cpt")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cpt":
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if _is_module(whole) else str(node.module)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath("core", *name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_the_index_leads_to_every_page() -> None:
    docs = ROOT / "docs"
    linked = {
        (docs / target).resolve() for target in LINK.findall((docs / "README.md").read_text())
    }
    pages = {page for page in docs.rglob("*.md") if page.name != "README.md"}
    assert pages <= linked


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_hooks_say_what_they_are_for() -> None:
    hooks = [each for name, each in vars(hookspecs).items() if name.startswith("cpt_")]
    assert len(hooks) > 10
    assert all(hook.__doc__ for hook in hooks)


def test_the_readme_names_every_component_that_is_included() -> None:
    text = (ROOT / "README.md").read_text()
    names = [name for _, name in Registry.collect(load_plugins()).components]
    assert len(names) > 15
    assert [name for name in names if f"`{name}`" not in text and "lab_" not in name] == []


def test_the_run_folder_page_names_every_option_that_is_a_path() -> None:
    page = (ROOT / "docs" / "reference" / "run-folder.md").read_text()
    registry = Registry.collect(load_plugins())
    marked = {
        f"`{name}.{field.name}`"
        for role, name in registry.components
        for field in options.fields(registry[role, name])
        if field.metadata.items() >= cpt.PATH.items()
    }
    assert len(marked) > 10
    assert [each for each in sorted(marked) if each not in page] == []


def test_the_design_page_has_the_layers_of_core() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (core,) = (
        contract for contract in contracts["contracts"] if contract["name"] == "Core is layered"
    )
    page = (ROOT / "docs" / "explanation" / "design.md").read_text()
    assert "```text\n" + "\n".join(core["layers"]) + "\n```" in page


def test_the_design_page_names_every_folder_of_core() -> None:
    page = (ROOT / "docs" / "explanation" / "design.md").read_text()
    core = ROOT / "core" / "cpt"
    folders = [
        path.name
        for path in (*core.glob("*/"), *core.glob("*/*/"))
        if (path / "__init__.py").exists()
    ]
    assert len(folders) > 20
    assert [name for name in folders if f"`{name}/`" not in page] == []


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    assert [name for name in main.commands if not re.search(rf"\b{name}\b", page)] == []
