"""What is shipped, and who may import whom."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from .fresh import ROOT, Environment, build

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = sorted(path.name for path in (ROOT / "plugins").glob("cpt_*"))
CACHES = ("__pycache__", ".pyc")
HEAVY = ("torch", "transformers", "accelerate", "datasets", "openai", "anthropic", "pyarrow")


def shipped(folder: str) -> set[str]:
    """Every file below `folder` as it should lie in the wheel."""
    root = ROOT / folder
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix()
        for path in files
        if not any(cache in path.as_posix() for cache in CACHES)
    }


def in_wheel(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def test_the_wheel_holds_core_and_plugins_with_their_data_and_no_more(wheel: Path) -> None:
    assert in_wheel(wheel) == shipped("core") | shipped("plugins")


def test_every_package_is_typed(wheel: Path) -> None:
    assert {f"{name}/py.typed" for name in ["cpt", *PLUGINS]} <= in_wheel(wheel)


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert {path.name for path in unpacked.iterdir()} <= {
        *("core", "plugins", "pyproject.toml", "PKG-INFO", ".gitignore"),
        *("README.md", "LICENSE", "CHANGELOG.md"),
    }
    assert in_wheel(build("wheel", tmp_path / "again", unpacked)) == in_wheel(wheel)


def test_the_installed_package_runs(installed: Environment) -> None:
    assert "Usage: cpt" in installed.run("cpt", "--help")
    where = installed.run("python", "-c", "import cpt, cpt_apo; print(cpt.__file__, cpt_apo)")
    assert where.count(str(installed.folder)) == 2
    loaded = json.loads(installed.run("cpt", "plugins", "--json"))
    assert {each["state"] for each in loaded} == {"loaded"}
    assert len(loaded) == len(PLUGINS)


def test_every_bundled_plugin_is_an_entry_point_and_every_entry_point_a_plugin() -> None:
    declared = PROJECT["project"]["entry-points"]["cpt"]
    assert sorted(declared.values()) == PLUGINS
    assert all(module == f"cpt_{name}" for name, module in declared.items())


def test_the_layers_name_every_plugin() -> None:
    linter = PROJECT["tool"]["importlinter"]
    assert sorted(linter["root_packages"]) == ["cpt", *PLUGINS]
    forbidden, independent = linter["contracts"][:2]
    assert sorted(forbidden["forbidden_modules"]) == PLUGINS
    assert sorted(independent["modules"]) == PLUGINS


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


def test_every_dependency_is_pinned_for_development() -> None:
    """Those that `make setup` installs: an unpinned one could change under a green suite."""
    pinned = {
        _normal(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    names = {_normal(each.partition(">=")[0]) for each in wanted}
    assert names <= pinned


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")
