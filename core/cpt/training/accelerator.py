"""The device and the processes of a training, as accelerate has them."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, KwargsHandler

from cpt.errors import CptError
from cpt.training.options import Training
from cpt.training.output.sharded import shard_checkpoints

MICRO_TOKENS = {"cpu": 2048}
"""Tokens that keep a device busy, by its type; 8192 for others."""
PATIENCE = timedelta(days=1)
"""How long processes wait for one of them, which may evaluate or export for hours."""


def make_accelerator(options: Training) -> Accelerator:
    """The accelerator: it places models on devices and lets processes communicate.

    Raises `CptError` for options that the way of sharing the model cannot have.
    """
    # Trainings in one process, one after the other, may differ in device and precision; and one in
    # which a model is measured has told accelerate already that it is sharded.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=options.device == "cpu",
        mixed_precision="no" if options.precision == "fp32" else "bf16",
        kwargs_handlers=_handlers(),
    )
    shard_checkpoints(accelerator)
    if accelerator.distributed_type == "DEEPSPEED":
        _count_for_deepspeed(accelerator, options)
    if accelerator.is_fsdp2:
        _keep_log_probabilities(accelerator, options)
    return accelerator


def _handlers() -> list[KwargsHandler]:
    """What processes agree on: how long they wait, and no second copy of gradients for DDP."""
    return [
        InitProcessGroupKwargs(timeout=PATIENCE),
        DistributedDataParallelKwargs(gradient_as_bucket_view=True),
    ]


def _keep_log_probabilities(accelerator: Accelerator, options: Training) -> None:
    """Let FSDP2 gather weights in bf16, and leave what goes into blocks and comes out as it is.

    accelerate would round the log-probability of each token to bf16, and gradients where they are
    added up. Raises `CptError` for trained weights in bf16, which it holds in fp32 unasked.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if options.precision == "fp32":
        return
    if options.weights == "bf16" and not options.lora_rank:
        raise CptError(
            "train.weights: FSDP2 holds trained weights in fp32; leave bf16 out, or use DDP."
        )
    accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
    )


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
