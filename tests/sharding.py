"""FSDP2 on CPUs: accelerate offers it for accelerators alone, torch wherever processes talk."""

from __future__ import annotations

import os
from typing import Any

from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule

FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "FSDP_OFFLOAD_PARAMS": "false",
}
"""What `accelerate launch` makes of `examples/accelerate/fsdp2.yaml`, as far as FSDP2 reads it."""


def shard() -> None:
    """Let trainings in this process, one of several, shard their model."""
    for name, value in FSDP2.items():
        os.environ.setdefault(name, value)
    begin = PartialState.__init__

    def as_with_gpus(self: Any, *args: Any, **kwargs: Any) -> None:
        begun = bool(PartialState._shared_state)
        begin(self, *args, **kwargs)
        if not begun:  # afterwards it is what accelerate makes of it
            self.distributed_type = DistributedType.MULTI_GPU

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a process would keep whole gradients")

    PartialState.__init__ = as_with_gpus
    CPUOffloadPolicy.__init__.__defaults__ = (False,)  # memory is pinned for accelerators alone
    FSDPModule.set_requires_gradient_sync = refused  # type: ignore[method-assign]
