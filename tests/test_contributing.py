"""What CONTRIBUTING.md says about the repository is so."""

from __future__ import annotations

import re

import yaml

from .fresh import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
QUOTED = re.findall("`([^`\n]+)`", TEXT)
CORE = ROOT / "core" / "cpt"


def test_it_names_only_files_that_exist() -> None:
    named = [
        name for name in QUOTED if re.match("(core|docs|plugins|tests|benchmarks)/[^ *]*$", name)
    ]
    named = [name for name in named if "NAME" not in name]
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_layout_has_every_folder_of_core() -> None:
    code = {str(file.parent.relative_to(CORE)) for file in CORE.rglob("*.py")} - {"."}
    folders = {folder for folder in code if not folder.startswith(("scaffold/", "testing/"))}
    rows = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall("`([^`]+/)`", row)}
    assert folders - {"report/read"} <= named
    assert [name for name in named if not (CORE / name).is_dir()] == []


def test_it_names_only_targets_that_make_has() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall("^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert {name.split()[1] for name in QUOTED if name.startswith("make ")} <= targets
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(phony.split()) == targets


def test_hooks_before_a_commit_are_local_and_those_of_make() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    run = {hook["entry"].removeprefix(".venv/bin/").split(" --force")[0] for hook in hooks}
    makefile = (ROOT / "Makefile").read_text()
    checks = re.findall(r"^(?:lint|types):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    commands = [line.strip() for check in checks for line in check.splitlines()]
    assert run == {command.removeprefix("$(BIN)/") for command in commands}
    assert {hook["language"] for hook in hooks} == {"system"}
