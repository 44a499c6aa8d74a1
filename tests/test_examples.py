"""The example packages are built, installed and used as their reader would."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from .fresh import ROOT, Environment, build

EXAMPLES = ("minimal-plugin", "near-miss", "local-program")
CATALOGUE = ROOT / "docs" / "reference" / "catalogue.toml"


@pytest.fixture(scope="module")
def with_plugins(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with cpt and the example plugins, from wheels that are built here."""
    folder = tmp_path_factory.mktemp("examples")
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    copies = [
        shutil.copytree(ROOT / "examples" / name, folder / name, ignore=ignored)
        for name in EXAMPLES
    ]
    wheels = [build("wheel", folder / "wheels" / copy.name, copy) for copy in copies]
    environment = Environment.make(folder / "environment")
    environment.install(wheel, *wheels)
    return environment


def test_each_is_as_the_catalogue_says(with_plugins: Environment, tmp_path: Path) -> None:
    check = ("plugins", "--check", "--catalogue", CATALOGUE, "--json")
    found = json.loads(with_plugins.run("cpt", *check, cwd=tmp_path))
    by_name = {plugin["name"]: plugin for plugin in found}
    assert {plugin["status"] for plugin in found} == {"fits"}
    assert [by_name[name]["notes"] for name in tomllib.loads(CATALOGUE.read_text())] == [[]] * 3


def test_a_component_of_each_is_found_by_name(with_plugins: Environment, tmp_path: Path) -> None:
    assert "beta" in with_plugins.run("cpt", "show", "loss", "my_hinge", cwd=tmp_path)
    shown = with_plugins.run(
        *("cpt", "--pairer", "near_miss", "--filters", "no_loops", "--loss", "my_hinge"),
        *("--scheduler", "domains", "--evaluators", "variety", "--help"),
        cwd=tmp_path,
    )
    for flag in ("pairer.gap", "filters.times", "loss.beta", "scheduler.key", "evaluators.samples"):
        assert f"--{flag}" in shown


def test_they_pass_their_own_tests(with_plugins: Environment, tmp_path: Path) -> None:
    tests = [
        shutil.copytree(ROOT / "examples" / name / "tests", tmp_path / name) for name in EXAMPLES
    ]
    printed = with_plugins.run("python", "-m", "pytest", "-q", *tests, cwd=tmp_path)
    assert " passed" in printed
