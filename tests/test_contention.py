"""A busy machine: threads do not spin for long, and a training says that it waits for cores."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cpt.training.monitoring import contention
from cpt.training.monitoring.contention import Contention

SHOW = "import os, sys; sys.argv = ['cpt', '--version']\n" + (
    "try:\n    import cpt.cli; cpt.cli.main()\n"
    "except SystemExit:\n    assert 'torch' not in sys.modules\n"
    "print(os.environ.get('GOMP_SPINCOUNT'))"
)


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "passive"}, "None"),
    ],
)
def test_threads_spin_briefly_unless_the_user_says_how(given: dict[str, str], spins: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in contention_names()}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], env=clean | given, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == spins


def contention_names() -> set[str]:
    from cpt.cli import SPINNING

    return SPINNING


def threads(folder: Path, *times: tuple[float, float]) -> None:
    for number, (ran, waited) in enumerate(times):
        task = folder / str(number)
        task.mkdir(parents=True, exist_ok=True)
        (task / "schedstat").write_text(f"{int(ran * 1e9)} {int(waited * 1e9)} 5\n")


def test_waiting_for_cores_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(contention, "TASKS", tmp_path)
    threads(tmp_path, (100, 100), (100, 0))
    looks = Contention()
    threads(tmp_path, (103, 102), (102, 2))  # too little to say anything
    looks.look()
    assert not caplog.messages
    threads(tmp_path, (110, 110), (110, 5))
    with caplog.at_level(logging.WARNING):
        looks.look()
        looks.look()
    (line,) = caplog.messages
    assert "spent 43% of its time waiting for one" in line and "cores" in line


@pytest.mark.parametrize("times", [[(200, 110)], []])
def test_a_quiet_machine_and_an_unknown_one_are_not_mentioned(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    times: list[tuple[float, float]],
) -> None:
    monkeypatch.setattr(contention, "TASKS", tmp_path)
    threads(tmp_path, (100, 100))
    looks = Contention()
    threads(tmp_path, *times)
    looks.look()
    assert not caplog.messages


def test_the_times_are_those_of_this_process() -> None:
    if not contention.TASKS.is_dir():
        pytest.skip("no /proc here")
    ran, waited = contention.thread_times()
    assert ran >= 0 and waited >= 0
