"""The project as its users have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fresh import Environment, build


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with the wheel in it."""
    environment = Environment.make(tmp_path_factory.mktemp("environment"))
    environment.install(wheel)
    return environment
