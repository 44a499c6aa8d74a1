"""The project as its users have it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .fresh import ROOT, Environment, build

NOT_HERE = "the published data is not in ../shared/data"

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


@pytest.fixture(scope="session")
def published() -> Callable[[str], Path]:
    """The path of a file of published data; the test is skipped where it is not there."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared" / "data" / name
        if not path.exists():
            pytest.skip(NOT_HERE)
        return path

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    without = sum(NOT_HERE in str(report.longrepr) for report in skipped)
    if without:
        tests = "1 test was" if without == 1 else f"{without} tests were"
        terminalreporter.write_line(f"{tests} skipped: {NOT_HERE}.", yellow=True)
