"""The configurations for `accelerate launch` are what accelerate reads, and what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from .fresh import ROOT
from .sharding import FSDP2

FOLDER = ROOT / "examples" / "accelerate"
PAGE = ROOT / "docs" / "how-to" / "several-gpus.md"
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddp": ("MULTI_GPU", "multi_gpu", {}),
    "fsdp2": ("FSDP", "use_fsdp", {"fsdp_version": 2, "fsdp_offload_params": False}),
    "fsdp2-offload": ("FSDP", "use_fsdp", {"fsdp_version": 2, "fsdp_offload_params": True}),
    "zero2": ("DEEPSPEED", "use_deepspeed", {"zero_stage": 2}),
    "zero3-offload": (
        "DEEPSPEED",
        "use_deepspeed",
        {"zero_stage": 3, "offload_optimizer_device": "cpu", "offload_param_device": "cpu"},
    ),
}


def test_each_is_named_in_the_how_to_page() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {f"{name}.yaml" for name in KINDS}
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"examples/accelerate/{name}" in page for name in files)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_it_as_it_is_meant(name: str) -> None:
    kind, flag, options = KINDS[name]
    file = FOLDER / f"{name}.yaml"
    read = ClusterConfig.from_yaml_file(str(file))  # refuses keys that it does not know
    assert read.distributed_type == kind
    assert read.mixed_precision == "no"  # `train.precision` says it
    line = ["--config_file", str(file), "--num_processes", "2", "-m", "cpt", "train"]
    args = launch_command_parser().parse_args(line)
    assert args.training_script == "cpt"
    known = vars(args)
    given = read.fsdp_config or read.deepspeed_config or {}
    assert given.items() >= options.items()
    assert given.keys() <= known.keys()  # each is a flag of `accelerate launch`
    setattr(args, flag, True)
    _validate_launch_command(args)


def test_sharding_is_tried_as_the_launcher_asks_for_it() -> None:
    line = ["--config_file", str(FOLDER / "fsdp2.yaml"), "--num_processes", "2", "-m", "cpt"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(line))
    made = prepare_multi_gpu_env(args)
    assert made.items() >= FSDP2.items()


def test_the_folder_is_in_the_list_of_examples() -> None:
    assert "accelerate/" in Path(ROOT / "examples" / "README.md").read_text(encoding="utf-8")
