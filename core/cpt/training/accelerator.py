"""The device and the processes of a training, as accelerate has them."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from cpt.training.options import Training
from cpt.training.output.sharded import shard_checkpoints

MICRO_TOKENS = {"cpu": 2048}
"""Tokens that keep a device busy, by its type; 8192 for others."""


def make_accelerator(options: Training) -> Accelerator:
    """The accelerator: it places models on devices and lets processes communicate."""
    if not torch.distributed.is_initialized():
        # Trainings in one process, one after the other, may differ in device and precision.
        PartialState._reset_state()
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=options.device == "cpu",
        mixed_precision="no" if options.precision == "fp32" else "bf16",
    )
    shard_checkpoints(accelerator)
    if accelerator.distributed_type == "DEEPSPEED":
        _count_for_deepspeed(accelerator, options)
    return accelerator


def _count_for_deepspeed(accelerator: Accelerator, options: Training) -> None:
    """Tell DeepSpeed what it reads from a data loader, of which there is none here.

    It clips gradients itself. Micro-batches are of any number of pairs, so it must not divide by
    their number: the loop says which is the last of a step, and weighs each by its pairs.
    """
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    config["train_micro_batch_size_per_gpu"] = 1
    config["gradient_accumulation_steps"] = 1
    config["gradient_clipping"] = options.max_grad_norm


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a part of the model."""
    return accelerator.distributed_type in ("FSDP", "DEEPSPEED")


def micro_tokens_of(options: Training, device: str) -> int:
    """Most tokens in a micro-batch on a type of device."""
    return options.micro_tokens or MICRO_TOKENS.get(device, 8192)
