"""Fixtures for every project that has cpt installed (a `pytest11` entry point)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from click.testing import Result


@pytest.fixture
def cpt_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `cpt` in an empty folder: `result = cpt_cli("--loss", "mine", "--help")`.

    Nothing of the caller's environment that begins with `CPT_` reaches it.
    """
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("CPT_"):
            monkeypatch.delenv(name)

    def invoke(*args: str | Path) -> Result:
        from click.testing import CliRunner

        from cpt.cli import main

        return CliRunner().invoke(main, [str(arg) for arg in args], prog_name="cpt")

    return invoke
