"""Measuring a training with evaluators: a copy of the model as it is now, written and asked."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor

from cpt.errors import CptError
from cpt.training.forward.agreement import alone
from cpt.training.monitoring.held_out import PREFIX
from cpt.training.output.export import copy_of, export, gathered, how_to_store
from cpt.training.state import State

Evaluate = Callable[[Path], Mapping[str, float]]
"""From the folder of a model to its scores by name."""
NOW = "now"
"""The folder of the model while it is asked."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def measure(state: State, output: Path, evaluate: Evaluate) -> dict[str, float]:
    """The scores of the model as it is now, as `eval/NAME`, from the main process.

    Every process calls this. Nothing of `state` changes, and neither do random numbers.
    """
    found: list[Mapping[str, float]] = [{}]
    weights = gathered(state.accelerator, state.wrapped_module)
    if state.accelerator.is_main_process:
        with undisturbed(), alone():
            found = [_measured(state, weights, output / NOW, evaluate)]
    if state.accelerator.num_processes > 1:
        broadcast_object_list(found)
    return {f"{PREFIX}{name}": value for name, value in found[0].items()}


def refuse_unaskable(state: State) -> None:
    """Raise `CptError` for a training whose model cannot be copied, or gives no answers."""
    if not state.plan.options.evaluators:
        return
    if "score" in state.plan.loss.needs:
        raise CptError("train.evaluators: a reward model answers nothing; leave them out.")
    if state.accelerator.distributed_type == "DEEPSPEED":
        raise CptError(
            "train.evaluators: a model that DeepSpeed trains cannot be asked as it is trained; "
            "leave them out, or train it with FSDP2, DDP or one process."
        )


def _measured(
    state: State, weights: Mapping[str, Tensor] | None, folder: Path, evaluate: Evaluate
) -> Mapping[str, float]:
    trained = copy_of(state.scorer.module, state.plan, weights)
    how = how_to_store(state.plan, trained)
    try:
        export(state.plan, trained, how, folder, metrics={"step": state.done})
        del trained
        return evaluate(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """After the block random numbers, accelerate's state and handlers of signals are as before."""
    drawn = random.getstate(), np.random.get_state()
    shared = [(kind, dict(kind._shared_state)) for kind in _SHARED]
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {name: signal.getsignal(name) for name in SIGNALS if in_main}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])
            for kind, values in shared:
                kind._shared_state.clear()
                kind._shared_state.update(values)
            for name, handler in handlers.items():
                signal.signal(name, handler)


_SHARED = (PartialState, AcceleratorState, GradientState)
