"""AdamW, with its state in fp32 or fewer bits, for weights in fp32 or bf16.

A step of training is often smaller than the distance between two bf16 numbers, so that rounding to
the nearest would undo it. Weights in bf16 are therefore rounded up or down at random, as often as
the number is near either: what is lost is noise, not the step (arXiv 2010.06192).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from math import gcd, prod
from typing import Any

import torch
from torch import Tensor, nn

from cpt.errors import CptError
from cpt.models import torchao
from cpt.training.options import Training

LOW_BIT = {"adamw_8bit": "AdamW8bit", "adamw_4bit": "AdamW4bit", "adamw_fp8": "AdamWFp8"}
"""Names of torchao's classes."""
ROUNDED = "_AdamW"
"""Torchao's AdamW that rounds at random and keeps all bits of its state."""
AT_ONCE = 2**22
"""Numbers that are changed at once where torchao's kernels are not compiled: each of their
operations makes a tensor of its own then."""
BLOCK = 256
"""Numbers that share a scale in a quantized state, or a multiple of them."""


def make_optimizer(module: nn.Module, options: Training) -> torch.optim.Optimizer:
    """AdamW over what is trained; biases and norms are not decayed. Raises `CptError`."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trained if parameter.ndim >= 2],
            "weight_decay": options.weight_decay,
        },
        {
            "params": [parameter for parameter in trained if parameter.ndim < 2],
            "weight_decay": 0.0,
        },
    ]
    betas = (options.beta1, options.beta2)
    rounded = any(parameter.dtype == torch.bfloat16 for parameter in trained)
    if options.optimizer == "adamw" and not rounded:
        return torch.optim.AdamW(groups, lr=options.learning_rate, betas=betas, fused=True)
    made: torch.optim.Optimizer = _class(LOW_BIT.get(options.optimizer, ROUNDED))(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=betas,
        bf16_stochastic_round=True,
    )
    return made


def needs_torchao(options: Training) -> bool:
    """Whether the optimizer is torchao's."""
    return options.optimizer != "adamw" or (options.weights == "bf16" and not options.lora_rank)


def refuse_without_torchao(options: Training) -> None:
    """Raise `CptError` where what the options ask of torchao is missing."""
    asked = {
        f"optimizer {options.optimizer}": options.optimizer != "adamw",
        "weights bf16": needs_torchao(options),
        "precision fp8": options.precision == "fp8",
    }
    if not any(asked.values()):
        return
    torchao.need()
    if find_spec(torchao.NAME) is None:
        what = next(option for option, is_so in asked.items() if is_so)
        raise CptError(
            f"train.{what}: torchao is not installed; "
            "`pip install 'contrastive-post-training[low-bit]'`."
        )


def set_rate(optimizer: Any, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(rate)  # accelerate moved the first one to the device
        else:
            group["lr"] = rate


@contextmanager
def stepping(options: Training, device: torch.device, seed: Sequence[int]) -> Iterator[None]:
    """Around a step: random rounding depends on `seed` alone, so that a resumed step is the same.

    On a CPU torchao's kernels run as they are, as compiling them for each shape takes minutes.
    """
    if not needs_torchao(options):
        yield
        return
    eager = torch.compiler.set_stance("force_eager") if device.type == "cpu" else nullcontext()
    devices = [device] if device.type == "cuda" else []
    with eager, torch.random.fork_rng(devices):
        torch.manual_seed(hash(tuple(seed)) % 2**63)
        yield


@cache
def _class(name: str) -> Any:
    """A class of torchao, whose state is restored from a checkpoint to the bit."""
    torchao.need()
    with torchao.quiet():
        from torchao.optim import adam

    base: Any = getattr(adam, name)

    class Exact(base):  # type: ignore[misc]
        def step(self, closure: None = None) -> None:
            """As torchao does it; on a CPU some rows at a time."""
            if any(map(_is_compiled, _trained(self))):
                super().step(closure)
            else:
                _step_by_rows(self, adam.single_param_adam)

        def _new_buffer(self, parameter: Tensor, signed: bool) -> Tensor:
            # What is too small to be quantized would be in the format of the weights: a mean of
            # squares in bf16 does not change.
            buffer: Tensor = super()._new_buffer(parameter, signed).float()
            return buffer

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            """As torch does it, but in the formats that were saved, not in the weights'."""
            super().load_state_dict(state_dict)
            parameters = [parameter for group in self.param_groups for parameter in group["params"]]
            numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
            for number, parameter in zip(numbers, parameters, strict=True):
                for key, value in state_dict["state"].get(number, {}).items():
                    kept = value.to(parameter.device) if key != "step" else value
                    self.state[parameter][key] = kept.cpu().clone() if key == "step" else kept

    Exact.__name__ = Exact.__qualname__ = base.__name__
    return Exact


def _trained(optimizer: Any) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from (parameter for parameter in group["params"] if parameter.grad is not None)


def _is_compiled(parameter: Tensor) -> bool:
    """Whether torchao changes it: it compiles that for accelerators, and knows of shards."""
    return parameter.device.type != "cpu" or hasattr(parameter, "device_mesh")


@torch.no_grad()
def _step_by_rows(optimizer: Any, change: Callable[..., None]) -> None:
    """A step of torchao's, whose temporary tensors are no larger than `AT_ONCE` numbers."""
    for group in optimizer.param_groups:
        settings = (group["lr"], *group["betas"], group["weight_decay"], group["eps"], True)
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = _state_of(optimizer, parameter)
            state["step"] += 1
            rounded = parameter.dtype == torch.bfloat16
            moments = (state["exp_avg"], state["exp_avg_sq"])
            for rows in _rows(parameter):
                now, grad, *means = (one[rows] for one in (parameter, parameter.grad, *moments))
                change(now, grad, state["step"], *means, None, *settings, rounded)


def _state_of(optimizer: Any, parameter: Tensor) -> dict[str, Any]:
    state: dict[str, Any] = optimizer.state[parameter]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = optimizer._new_buffer(parameter, True)
        state["exp_avg_sq"] = optimizer._new_buffer(parameter, False)
    return state


def _rows(parameter: Tensor) -> Iterator[Any]:
    """Rows of about `AT_ONCE` numbers, cut where blocks of a quantized state end."""
    if not parameter.ndim:
        return iter([...])
    width = max(1, prod(parameter.shape[1:]))
    whole = BLOCK // gcd(BLOCK, width)
    some = max(1, AT_ONCE // (width * whole)) * whole
    return (
        slice(start, min(start + some, len(parameter))) for start in range(0, len(parameter), some)
    )
