"""A step on an accelerator keeps to its device, and the CPU does not wait for it on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from .fresh import ROOT

SCRIPT = ROOT / "tests" / "without_values.py"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `without_values.py` saw by case."""
    folder = tmp_path_factory.mktemp("without_values")
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, env=os.environ
    )
    assert not ran.returncode, ran.stderr[-3000:]
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_nothing_waits_for_the_device_within_a_step(seen: dict[str, Any]) -> None:
    assert {name: step["waits"] for name, step in seen.items()} == {name: [] for name in seen}


def test_every_weight_gets_its_gradient(seen: dict[str, Any]) -> None:
    left = {name: step["trained"] - step["gradients"] for name, step in seen.items()}
    assert not any(left.values()), left


def test_packed_rows_are_one_call_of_flash_attention_in_each_layer(seen: dict[str, Any]) -> None:
    called = {name: step["attended"] / step["calls"] for name, step in seen.items()}
    assert called == {name: 0 if name in ("sinks", "padded") else 2 for name in seen}
