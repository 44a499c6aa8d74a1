"""The examples are used as their reader would use them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .fresh import ROOT, Environment

MINIMAL = ROOT / "examples" / "minimal-plugin"


@pytest.fixture(scope="module")
def with_plugin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with cpt and the example plugin, the latter from a copy."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(MINIMAL, folder / "plugin", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    environment = Environment.make(folder / "environment")
    environment.install(wheel, folder / "plugin")
    return environment


def test_the_plugin_is_found_by_name(with_plugin: Environment, tmp_path: Path) -> None:
    assert "beta" in with_plugin.run("cpt", "show", "loss", "my_hinge", cwd=tmp_path)
    shown = with_plugin.run(
        "cpt", "--pairer", "brief", "--loss", "my_hinge", "--help", cwd=tmp_path
    )
    assert "--pairer.student" in shown
    assert "--loss.beta" in shown


def test_the_plugin_passes_its_own_tests(with_plugin: Environment, tmp_path: Path) -> None:
    tests = shutil.copytree(MINIMAL / "tests", tmp_path / "tests")
    printed = with_plugin.run("python", "-m", "pytest", "-q", tests, cwd=tmp_path)
    assert " passed" in printed
