"""What a GPU will be asked from its first minute runs here on a CPU, in small."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from .fresh import ROOT


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import gpu  # type: ignore[import-not-found]

        yield gpu
    for name in ("gpu", "material", "trainers"):
        sys.modules.pop(name, None)


@pytest.fixture
def told(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))

    def tell(name: str) -> dict[str, Any]:
        options = argparse.Namespace(part=name, scratch=tmp_path, device="cpu", small=True)
        return dict(gpu._do(options))

    return tell


def test_every_path_is_compared_with_the_plain_one(told: Any) -> None:
    paths = told("paths")
    assert set(paths) == {"padded", "packed", "packed, prompts shared"}
    assert all(path["logps"] < 0.01 and path["gradient"] < 0.02 for path in paths.values())


@pytest.mark.parametrize("part", ["first step, packed", "first step, padded", "lora"])
def test_a_training_begins_at_ln_2_and_its_speed_is_told(told: Any, part: str) -> None:
    found = told(part)
    assert found["first_loss_is_ln_2"] and found["tokens_per_second"] > 0
    assert (found["padding"] > 0) is (part == "first step, padded")


def test_a_resumed_training_is_compared_with_an_unbroken_one(told: Any) -> None:
    assert told("resume") == {"steps": 3, "largest_difference": 0.0}


@pytest.mark.parametrize("small", [True, False])
def test_parts_divide_less_than_eight_minutes_among_them(gpu: ModuleType, small: bool) -> None:
    parts = gpu.parts(small)
    ends = gpu.deadlines(parts)
    assert list(ends) == list(parts) and max(ends.values()) <= gpu.BUDGET < 8 * 60


def test_what_hangs_takes_time_from_no_other_part(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, given = 0.0, dict[str, float]()

    def hangs(name: str, *rest: Any) -> dict[str, Any]:
        nonlocal now
        given[name] = rest[-1]
        now += rest[-1] if name != "0.5b" else 5.0
        return {}

    monkeypatch.setattr(gpu, "_run", hangs)
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: now)
    monkeypatch.setattr(gpu, "_machine", lambda _: {})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path / "gpu.json")])
    gpu.main()
    shares = {name: part.seconds for name, part in gpu.parts(False).items()}
    assert given == shares | {"8b, full": shares["8b, full"] + shares["0.5b"] - 5.0}
    assert now <= gpu.BUDGET


def test_a_part_that_fails_is_written_down(gpu: ModuleType, tmp_path: Path) -> None:
    options = argparse.Namespace(device="cpu", small=True)
    part = gpu.Part(do="train", shape="small")
    log = tmp_path / "train" / "no such part" / "metrics.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 1, "loss": 0.5, "tokens_per_second": 8.0}\n')
    found = gpu._run("no such part", part, options, tmp_path, 100.0)
    assert found["failed"] == "exit status 1"
    assert found["said"][-1] == "KeyError: 'no such part'"
    assert (found["steps"], found["tokens_per_second"]) == (1, 8.0)


def test_a_part_that_hangs_is_ended_with_all_that_it_started(
    gpu: ModuleType, tmp_path: Path
) -> None:
    line = ["sh", "-c", "sleep 100 & wait"]  # it holds the streams open for as long as it lives
    assert gpu._ended(line, 0.5) == (None, "", "")


def test_what_is_measured_is_written_after_every_part(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "gpu.json"

    def run(name: str, *_: Any) -> dict[str, Any]:
        if name == "lora":
            raise KeyboardInterrupt
        return {"loss": float("nan")}

    monkeypatch.setattr(gpu, "_run", run)
    line = ["gpu.py", "--device", "cpu", "--small", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(KeyboardInterrupt):
        gpu.main()
    parts = json.loads(output.read_text())["parts"]
    assert list(parts) == ["paths", "first step, packed", "first step, padded", "low-bit"]
    assert parts["paths"] == {"loss": None}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_is_one_line(gpu: ModuleType) -> None:
    with pytest.raises(SystemExit, match="torch finds no CUDA device; --device cpu --small"):
        gpu._machine("cuda")
