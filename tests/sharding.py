"""FSDP2 on CPUs: accelerate offers it for accelerators alone, torch wherever processes talk."""

from __future__ import annotations

import os
from typing import Any

from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from cpt.training import accelerator as accelerators
from cpt.training import loop
from cpt.training.output.sharded import shard_checkpoints

FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
"""What `accelerate launch` makes of `examples/accelerate/fsdp2.yaml`."""


def shard() -> None:
    """Let trainings in this process, one of several, shard their model."""
    os.environ |= FSDP2
    make = accelerators.make_accelerator

    def sharded(options: Any) -> Any:
        if PartialState._shared_state:  # of the training, where a model is measured beside it
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_CPU
        accelerator = make(options)
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        shard_checkpoints(accelerator)
        assert accelerator.is_fsdp2
        return accelerator

    for module in (loop, accelerators):
        vars(module)["make_accelerator"] = sharded
