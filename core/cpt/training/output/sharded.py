"""Checkpoints of sharded trainings (torch.distributed.checkpoint), read by any number of processes.

accelerate writes a sharded model and optimizer by name, in parts, and reads them where the model
is sharded too. What is read across, from a sharded training into a whole model or the reverse, is
read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

MODEL, OPTIMIZER = "pytorch_model_fsdp_0", "optimizer_0"
"""Folders of a sharded checkpoint, by accelerate's names."""
WHOLE_MODEL, WHOLE_OPTIMIZER = "model.safetensors", "optimizer.bin"
"""Files of another one."""


def shard_checkpoints(accelerator: Any) -> None:
    """Let a sharded training write its checkpoints in parts: no process then holds all of it."""
    if accelerator.distributed_type == "FSDP":
        plugin = accelerator.state.fsdp_plugin
        plugin.state_dict_config = plugin.optim_state_dict_config = None  # what whole ones ask for
        plugin.set_state_dict_type("SHARDED_STATE_DICT")


def is_foreign(accelerator: Any, checkpoint: Path) -> bool:
    """Whether a checkpoint is of the other kind: sharded for a whole model, or the reverse."""
    return (checkpoint / MODEL).is_dir() is not (accelerator.distributed_type == "FSDP")


def load_foreign(accelerator: Any, checkpoint: Path) -> None:
    """Weights and optimizer of a checkpoint of the other kind. Every process calls this."""
    model, optimizer = accelerator._models[0], accelerator._optimizers[0].optimizer
    if (checkpoint / MODEL).is_dir():
        _whole_from_parts(model, optimizer, checkpoint)
    else:
        _parts_from_whole(model, optimizer, checkpoint, accelerator.is_main_process)


def _whole_from_parts(model: nn.Module, optimizer: Any, checkpoint: Path) -> None:
    from torch.distributed.checkpoint import state_dict as by_name
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    def read(name: str, state: dict[str, Any]) -> dict[str, Any]:
        alone = not torch.distributed.is_initialized()
        load(state, storage_reader=FileSystemReader(checkpoint / name), no_dist=alone)
        return state

    weights = read(MODEL, {"model": by_name.get_model_state_dict(model)})
    by_name.set_model_state_dict(model, weights["model"])
    state = read(OPTIMIZER, {"optimizer": by_name.get_optimizer_state_dict(model, optimizer)})
    by_name.set_optimizer_state_dict(model, optimizer, state["optimizer"])


def _parts_from_whole(model: nn.Module, optimizer: Any, checkpoint: Path, is_main: bool) -> None:
    from safetensors.torch import load_file
    from torch.distributed.checkpoint import state_dict as by_name

    spread = by_name.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    names = _names(model, optimizer)
    weights: dict[str, Any] = load_file(checkpoint / WHOLE_MODEL) if is_main else {}
    by_name.set_model_state_dict(model, weights, options=spread)
    state = torch.load(checkpoint / WHOLE_OPTIMIZER, weights_only=True) if is_main else {}
    by_name.set_optimizer_state_dict(
        model, optimizer, _by_name(state, names) if is_main else {}, options=spread
    )


def _names(model: nn.Module, optimizer: Any) -> list[str]:
    """The name of each parameter, in the order in which an optimizer counts them."""
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    return [named[id(one)] for group in optimizer.param_groups for one in group["params"]]


def _by_name(state: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The state of an optimizer by names instead of numbers."""
    return {
        "state": {names[number]: values for number, values in state["state"].items()},
        "param_groups": [
            {**group, "params": [names[number] for number in group["params"]]}
            for group in state["param_groups"]
        ],
    }
