"""The project as its users have it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .fresh import Environment, build

# Tiny models are quickest on one thread; more only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test is about time: a busy machine must not turn one red.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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
