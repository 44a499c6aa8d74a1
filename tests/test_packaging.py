"""What is shipped, and who may import whom."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from .fresh import ROOT, Environment, build

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = sorted(path.name for path in (ROOT / "plugins").glob("cpt_*"))
HEAVY = ("torch", "transformers", "accelerate", "datasets", "openai", "anthropic", "pyarrow")


def shipped(folder: str) -> set[str]:
    """Every file below `folder` as it should lie in the wheel."""
    root = ROOT / folder
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in files
        if not any(part.startswith((".", "__pycache__")) for part in path.parts)
    }


def in_wheel(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_the_wheel_holds_core_and_plugins_with_their_data_and_no_more(wheel: Path) -> None:
    assert in_wheel(wheel) == shipped("core") | shipped("plugins")


def test_the_description_is_the_readme_without_links_that_lead_nowhere(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in metadata
    described = metadata.partition("\n\n")[2]
    assert re.findall(r"\]\((?!https?://)[^)]*\)", described) == []
    assert "Documentation: tutorials, how-to guides" in described and "[report" not in described
    readme = (ROOT / "README.md").read_text()
    fenced = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
    assert fenced.findall(described) == fenced.findall(readme) != []


def test_every_package_is_typed(wheel: Path) -> None:
    assert {f"{name}/py.typed" for name in ["cpt", *PLUGINS]} <= in_wheel(wheel)


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert {path.name for path in unpacked.iterdir()} <= {
        *("core", "plugins", "pyproject.toml", "hatch_build.py", "PKG-INFO", ".gitignore"),
        *("README.md", "LICENSE", "CHANGELOG.md"),
    }
    assert in_wheel(build("wheel", tmp_path / "again", unpacked)) == in_wheel(wheel)


def test_the_installed_package_runs(installed: Environment) -> None:
    assert "Usage: cpt" in installed.run("cpt", "--help")
    where = installed.run("python", "-c", "import cpt, cpt_apo; print(cpt.__file__, cpt_apo)")
    assert where.count(str(installed.folder)) == 2
    loaded = json.loads(installed.run("cpt", "plugins", "--json"))
    assert {plugin["status"] for plugin in loaded} == {"loaded"}
    assert len(loaded) == len(PLUGINS)


def test_every_bundled_plugin_is_an_entry_point_and_every_entry_point_a_plugin() -> None:
    declared = PROJECT["project"]["entry-points"]["cpt"]
    assert sorted(declared.values()) == PLUGINS
    assert all(module == f"cpt_{name}" for name, module in declared.items())


def test_every_list_of_plugins_in_the_contracts_names_all_of_them() -> None:
    linter = PROJECT["tool"]["importlinter"]
    lists = dict(_lists_of_plugins("importlinter", linter))
    assert len(lists) >= 4  # root_packages, and three contracts about plugins
    differing = {where: sorted({*PLUGINS} ^ names) for where, names in lists.items()}
    assert not {where: names for where, names in differing.items() if names}


def _lists_of_plugins(where: str, value: Any) -> Iterator[tuple[str, set[str]]]:
    """Every list below `value` that names a plugin, as a set without `cpt`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lists_of_plugins(f"{where}.{key}", inner)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        if any(item.startswith("cpt_") for item in value):
            yield where, {*value} - {"cpt"}
    elif isinstance(value, list):
        for item in value:
            yield from _lists_of_plugins(f"{where}.{item['name']}", item)


@pytest.mark.parametrize("line", ["--help", "--pairer clair --loss apo_zero --help", "plugins"])
def test_help_imports_nothing_heavy(line: str, tmp_path: Path) -> None:
    code = (
        "import sys, cpt.cli\n"
        f"try: cpt.cli.main({line.split()})\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.stdout.decode().endswith("heavy: []\n"), done.stderr.decode()


def test_what_is_imported_is_declared() -> None:
    """And the other way round; pytest comes with whoever tests a plugin, extras with who asks."""
    declared = {_name(wanted) for wanted in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"].values()
    optional = {_name(wanted) for extra in extras for wanted in extra}
    assert _imported() - {"pytest"} - optional == declared


def _imported() -> set[str]:
    """The distributions that core and the plugins import from."""
    provider = packages_distributions()
    trees = (
        ast.parse(path.read_text())
        for folder in ("core", "plugins")
        for path in (ROOT / folder).rglob("*.py")
    )
    modules = {module.partition(".")[0] for tree in trees for module in _modules(tree)}
    foreign = modules - sys.stdlib_module_names - {"cpt", *PLUGINS}
    return {_name(provider.get(module, [module])[0]) for module in foreign}


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_every_dependency_is_pinned_for_development() -> None:
    """Those that `make setup` installs: an unpinned one could change under a green suite."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {_name(line) for line in lines if line and not line.startswith("#")}
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert {_name(wanted) for wanted in wanted} <= pinned


def _name(requirement: str) -> str:
    """The name in a requirement, as package indexes spell it."""
    return re.split(r"[=<>~\[ ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize(
    ("plugin", "responder"), [("openai", "OpenAI"), ("anthropic", "Anthropic")]
)
def test_an_sdk_is_loaded_before_the_time_of_a_request_runs(plugin: str, responder: str) -> None:
    made = f"from cpt_{plugin}.responder import {responder}; it = {responder}('m', base_url='http://127.0.0.1/v1')"
    loaded = f"print({plugin!r} in sys.modules)"
    code = f"import sys; {made}; {loaded}; it.check(); {loaded}"
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["False", "True"]


def test_the_citation_has_the_version_of_the_package() -> None:
    assert (
        yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
        == (PROJECT["project"]["version"])
    )
