"""Forward and backward of a training step on an accelerator, with tensors that have no values.

Such tensors know their device, their shape and no more: what mixes devices fails, and so does what
reads a number, for which the CPU would wait. PyTorch without CUDA has no guards for its devices, so
a device of another name stands for it, and attention takes CUDA's way there. That device stays for
the life of a process: hence a script, which prints a JSON of what it saw by case.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import tiny

from cpt import Loss
from cpt.training import loop
from cpt.training.accelerator import make_accelerator
from cpt.training.data.inputs import ModelInputs
from cpt.training.forward.attention import packed, varlen
from cpt.training.loss import metrics
from cpt.training.options import Training
from cpt.training.planning.plan import make_plan
from cpt.training.state import Cut, State, begin
from cpt_losses.reward import BradleyTerry

NAME = "stand_in"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Watching(TorchDispatchMode):
    """Takes note of copies between devices that the CPU would wait for, and counts attention."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.attended = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.attended += func is torch.ops.torch_attn._varlen_attn.default
        if func in COPIES:
            source, target = args[-1].device.type, result.device.type
            asynchronous = source == "cpu" and kwargs.get("non_blocking", args[2:] == (True,))
            if source != target and not asynchronous:
                self.waits.append(f"{source} to {target} at {_line()}")
        return result


def _line() -> str:
    """The innermost line of the project that is being run."""
    ours = [one for one in traceback.extract_stack() if f"{os.sep}cpt{os.sep}" in one.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"


@contextmanager
def without_values() -> Iterator[tuple[FakeTensorMode, Watching]]:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, Watching() as watching:
        yield mode, watching


def emptied(cut: Cut, mode: FakeTensorMode) -> Cut:
    """The same micro-batches on the CPU, without values."""
    groups, calls = cut
    return groups, [
        attrs.evolve(call, inputs=attrs.evolve(call.inputs, **_emptied(call.inputs, mode)))
        for call in calls
    ]


def _emptied(inputs: ModelInputs, mode: FakeTensorMode) -> dict[str, Any]:
    values = {field.name: getattr(inputs, field.name) for field in attrs.fields(ModelInputs)}
    return {name: mode.from_tensor(one) for name, one in values.items() if isinstance(one, Tensor)}


def moved(module: nn.Module) -> nn.Module:
    """The module with weights in bf16 on the device, without values."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=torch.bfloat16, device=DEVICE)
                part._parameters[name] = nn.Parameter(empty, weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty_like(buffer, device=DEVICE)
    return module


def like_cuda() -> None:
    """Let attention take CUDA's way on the device that stands for it."""

    def of(cls: Any, segments: Any, device: torch.device) -> Any:
        return cls(segments, varlen.Varlen.of(segments, device) if device == DEVICE else None)

    def usable(query: Tensor, value: Tensor, dropout: float, *extras: object) -> bool:
        plain = not dropout and all(extra is None for extra in extras)
        return query.device == DEVICE and plain

    packed.PackedSequence.of = classmethod(of)  # type: ignore[method-assign, assignment]
    varlen.usable = usable


def step_of(loss: Loss, folder: Path, output: Path, **asked: Any) -> dict[str, Any]:
    """What a step does: copies that wait, calls of attention, gradients."""
    options = Training(**{**tiny.OPTIONS, "micro_tokens": 300, **asked})
    pairs = [*tiny.pairs(11), *tiny.ladder(2)]
    plan = make_plan(pairs, folder, tiny.InOrder(), loss, options, 0)
    state = begin(plan, make_accelerator(options), output)
    cut = loop._cut(state, 1)
    with without_values() as (mode, watching):
        state.ahead = emptied(cut, mode)
        module = moved(state.wrapped_module)
        loop._backward(there(state, module))
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    return {
        "waits": watching.waits,
        "calls": len(cut[1]),
        "attended": watching.attended,
        "trained": len(trained),
        "gradients": sum(weight.grad is not None for weight in trained),
    }


def there(state: State, module: nn.Module) -> State:
    """A state after its first step, on the device."""
    accelerator = SimpleNamespace(
        device=DEVICE,
        num_processes=1,
        process_index=0,
        distributed_type="NO",
        autocast=nullcontext,
        no_sync=lambda _: nullcontext(),
        backward=lambda objective: objective.backward(),
    )
    return attrs.evolve(
        state,
        accelerator=accelerator,
        wrapped_module=module,
        meter=metrics.Meter(),
        done=1,
        reference_step=None,
        independence_tried=True,
    )


CASES: dict[str, tuple[str, Loss, dict[str, Any]]] = {
    "packed": ("llama", tiny.Sigmoid(), {}),
    "by token": ("llama", tiny.ByToken(), {}),
    "own metrics": ("llama", tiny.Measured(), {}),
    "chosen only": ("llama", tiny.Imitate(), {}),
    "reward model": ("llama", BradleyTerry(), {}),
    "lora": ("llama", tiny.Sigmoid(), {"lora_rank": 4}),
    "router": ("qwen2_moe", tiny.Sigmoid(), {"router_aux_loss": 0.01}),
    "sinks": ("gpt_oss", tiny.Sigmoid(), {}),
    "padded": ("bloom", tiny.Sigmoid(), {}),
}
"""By name a family, a loss and the training's options."""


def main(names: Sequence[str], output: Path) -> None:
    like_cuda()
    os.environ["CPT_CACHE"] = str(output / "cache")
    seen = {}
    for name in names or CASES:
        family, loss, options = CASES[name]
        folder = tiny.of_family(output / name / "model", family)
        seen[name] = step_of(loss, folder, output / name / "run", **options)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[2:], Path(sys.argv[1]))
