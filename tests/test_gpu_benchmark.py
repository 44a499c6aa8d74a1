"""What a GPU will be asked from its first minute runs here on a CPU, in small."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import cpt
from cpt.files import json_text

from .fresh import ROOT

BF16, FLOAT8 = 0.02, 0.2
PATHS = {
    **dict.fromkeys(("padded", "packed", "packed, prompts shared"), BF16),
    **({"packed, float8": FLOAT8} if find_spec("torchao") else {}),
}
"""Most that the gradient of a path may be away from the plain one."""


@pytest.fixture(scope="module")
def gpu() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import gpu  # type: ignore[import-not-found]

        yield gpu
    for name in ("gpu", "gpu_exact", "gpu_parts", "gpu_speed", "material", "trainers"):
        sys.modules.pop(name, None)


@pytest.fixture
def reported(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))

    def report(name: str) -> list[dict[str, Any]]:
        options = argparse.Namespace(part=name, scratch=tmp_path, device="cpu", small=True)
        said: list[str] = []
        gpu.do(options, lambda found: said.append(json_text(found)))
        return [json.loads(line) for line in said]

    return report


def test_every_path_is_compared_with_the_plain_one(reported: Any) -> None:
    said = reported("paths")
    assert all(list(said[-1])[: len(found)] == list(found) for found in said)
    assert [len(found) for found in said] == list(range(2, 3 + len(PATHS)))
    assert said[-1]["layout"]["packed"] and isinstance(said[-1]["varlen"], bool)
    for name, most in PATHS.items():
        path = said[-1][name]
        assert path["logps"] < most / 2 and path["gradient"] < most


@pytest.mark.parametrize("part", ["first step, packed", "first step, padded", "float8", "lora"])
def test_a_training_begins_at_ln_2_and_its_speed_is_reported(reported: Any, part: str) -> None:
    if part == "float8":
        pytest.importorskip("torchao.float8")
    *_, found = said = reported(part)
    assert found["first_loss_is_ln_2"] and found["tokens_per_second"] > 0 and found["memory"] > 1e8
    assert (found["padding"] > 0) is (part == "first step, padded")
    assert [found["steps"] for found in said] == [1, 2, 3]


def test_a_resumed_training_is_compared_with_an_unbroken_one(reported: Any) -> None:
    same = {"loss": 0.0, "weight": 0.0}
    resumed = {"steps": 3, "resumed_at_step": 3, "resumed": same, "twice": same}
    assert reported("resume") == [{"deterministic": True} | resumed]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_kernel_without_a_deterministic_form_is_reported(
    gpu: ModuleType, reported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    def resumed(part: Any, place: Any, folder: Path) -> dict[str, Any]:
        runs.append(folder.name)
        if torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("no deterministic form")
        return {"steps": 3}

    monkeypatch.setattr(gpu.gpu_exact, "_resumed", resumed)
    why = {"deterministic": False, "why": "no deterministic form"}
    assert reported("resume") == [why | {"steps": 3}]
    assert runs == ["exact", "usual"]


def test_waits_for_the_device_are_counted_by_line_of_ours(gpu: ModuleType) -> None:
    def wait() -> None:
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    ours = compile("wait()", str(Path(cpt.__file__).parent / "training" / "step.py"), "exec")
    with pytest.warns(match="another") as others, gpu.gpu_speed.waits_by_line() as found:
        for _ in range(2):
            exec(ours, {"wait": wait})
        wait()
        warnings.warn("another", stacklevel=1)
    assert found == {"training/step.py:1 <module>": 2, "elsewhere": 1}
    assert len(others) == 1


def test_one_step_is_watched_without_its_line_of_the_log(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", seen.append)
    for step in range(1, 5):
        for event in ("cpt_step_ended", "cpt_metrics_logged"):
            seen.append(f"{event} {step}")
            gpu.gpu_speed._switch_watch(event, step)
    begun, ended = seen.index("warn"), seen.index("default")
    assert seen[begun - 1 : begun] == ["cpt_metrics_logged 2"]
    assert seen[begun + 1 : ended] == ["cpt_step_ended 3"] and len(seen) == 10


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
    options = argparse.Namespace(device="cpu", small=True, scratch=tmp_path)
    part = gpu.Part(do="train", shape="small")
    found = gpu._run("no such part", part, options, 100.0)
    assert found["failed"] == "exit status 1" and found["shape"] == "small"
    assert found["said"][-1] == "KeyError: 'no such part'"


@pytest.mark.parametrize(
    ("status", "why"), [(None, "not done after 9 s"), (-11, "exit status -11")]
)
def test_what_a_part_reported_before_it_ended_is_kept(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, status: int | None, why: str
) -> None:
    out = '{"padded": 1}\n{"padded": 1, "packed": 2}\n3\n{"padded": 1, "pa'
    monkeypatch.setattr(gpu, "_ended", lambda *_: (status, out, "a\nb\n"))
    options = argparse.Namespace(device="cpu", small=True, scratch=Path("none"))
    part = gpu.Part(do="paths", shape="small")
    asked = {"shape": "small", "options": {}}
    reported = {"padded": 1, "packed": 2, "failed": why, "said": ["a", "b"]}
    assert gpu._run("paths", part, options, 9.0) == asked | reported


def test_a_missing_library_costs_its_own_parts_alone(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu, "_ended", lambda *_: (0, '{"steps": 3}', ""))
    options = argparse.Namespace(device="cuda", small=False, scratch=Path("none"))
    found = {name: gpu._run(name, part, options, 9.0) for name, part in gpu.parts(False).items()}
    left_out = {name: part["left_out"] for name, part in found.items() if "left_out" in part}
    assert left_out == {
        "8b, full": "not installed: torchao, triton",
        "trl": "not installed: trl, datasets",
        "8b, lora": "not installed: peft",
        "1.5b, compiled": "not installed: triton",
        "1.5b, float8": "not installed: torchao, triton",
    }
    assert found["resume"] == {"shape": "135m", "options": {"precision": "bf16"}, "steps": 3}


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
    assert list(parts) == list(gpu.parts(True))[:5]
    assert parts["paths"] == {"loss": None}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_is_one_line(gpu: ModuleType) -> None:
    with pytest.raises(SystemExit, match="torch finds no CUDA device; --device cpu --small"):
        gpu._machine("cuda")
