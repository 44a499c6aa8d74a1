"""What should be the same: each path and the plain one; a resumed training and an unbroken one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
from gpu_parts import Part, Place, Report, folder_of, log_of, trained, vocabulary_of


def paths(part: Part, place: Place, report: Report) -> None:
    """Log-probabilities and gradients of each path in bf16, against padded rows in fp32."""
    from cpt.training.data.packing import Layout
    from cpt.training.forward.attention import varlen
    from cpt.training.forward.loading.model import load_model
    from cpt.training.forward.logps import SequenceLogps

    model = folder_of(part, place, weights=True)
    module = SequenceLogps(load_model(model).to(place.device))
    groups, layout = _groups(part, place, model), module.layout
    found: dict[str, Any] = {"varlen": varlen.AVAILABLE, "layout": attrs.asdict(layout)}
    report(found)
    exact = _computed(module, groups, Layout(), place, half=False)
    for path in _every_path(module, place):
        try:
            path.change()
            found[path.name] = _compared(_computed(module, groups, path.layout, place), exact)
        except Exception as error:  # the other paths are worth their figures
            found[path.name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        report(found)


@attrs.frozen
class _Path:
    name: str
    layout: Any
    change: Callable[[], object] = attrs.field(default=lambda: None)
    """What is done to the module before, and stays for the paths behind."""


def _every_path(module: Any, place: Place) -> Iterator[_Path]:
    import torch

    from cpt.training.data.packing import Layout
    from cpt.training.forward.loading.formats import multiply_in_float8
    from cpt.training.forward.loading.model import compile_layers

    causal, device = module.causal, torch.device(place.device)
    yield _Path("padded", Layout())
    yield _Path("packed", attrs.evolve(module.layout, shared=False))
    yield _Path("packed, prompts shared", module.layout)
    if place.device == "cuda":
        yield _Path("packed, compiled", module.layout, partial(compile_layers, causal))
    if find_spec("torchao"):
        head = causal.get_output_embeddings()
        float8 = partial(multiply_in_float8, causal, head, device)
        yield _Path("packed, float8", module.layout, float8)


def _groups(part: Part, place: Place, model: Path) -> list[Any]:
    """Both sequences of some pairs."""
    from cpt.models import load_tokenizer
    from cpt.training.data.prepare import prepare
    from cpt.training.options import Training

    pairs, tokenizer = place.pairs()[:6], load_tokenizer(model)
    corpus, _ = prepare(pairs, tokenizer, Training(), vocabulary_of(part))
    sides = zip(corpus.chosen, corpus.rejected, strict=True)
    return [[corpus.sequences[side] for side in pair] for pair in sides]


def _computed(
    module: Any, groups: Sequence[Any], layout: Any, place: Place, half: bool = True
) -> tuple[Any, Any]:
    """Log-probabilities in the order of the groups, and the gradient of their sum."""
    import torch

    from cpt.training.data.packing import model_inputs

    module.zero_grad()
    by_group: dict[int, Any] = {}
    for inputs in model_inputs(groups, 4096, layout):
        with torch.autocast(place.device, torch.bfloat16, enabled=half):
            flat = module(inputs.to(torch.device(place.device)))
        flat.sum().backward()
        pieces = iter(torch.split(flat.detach().float(), list(inputs.lengths)))
        for group in inputs.groups:
            by_group[group] = torch.cat([next(pieces) for _ in groups[group]])
    gradients = [
        parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None
    ]
    return torch.cat([by_group[group] for group in range(len(groups))]), torch.cat(gradients)


def _compared(found: tuple[Any, Any], exact: tuple[Any, Any]) -> dict[str, float]:
    """Mean difference of a log-probability in nats, relative error of the gradient."""
    logps = (found[0] - exact[0]).abs().mean()
    gradient = (found[1] - exact[1]).norm() / exact[1].norm()
    return {"logps": float(logps), "gradient": float(gradient)}


def resume(part: Part, place: Place, report: Report) -> None:
    """A training that was ended and taken up, against one that was not; that also twice.

    Where a kernel has no deterministic form, those two show how much is its rounding.
    """
    try:
        with _deterministic():
            report({"deterministic": True} | _resumed(part, place, place.output / "exact"))
    except RuntimeError as error:
        why = {"deterministic": False, "why": str(error)[:500]}
        report(why | _resumed(part, place, place.output / "usual"))


@contextmanager
def _deterministic() -> Iterator[None]:
    """Inside it torch sums in the same order each time, or raises `RuntimeError`."""
    import torch

    with patch.dict(os.environ, {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}):
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)


def _resumed(part: Part, place: Place, runs: Path) -> dict[str, Any]:
    model, begun = folder_of(part, place, weights=True), list[int]()

    def run(name: str, notify: Callable[..., None] = lambda *_, **__: None) -> None:
        trained(part, place, model, runs / name, notify)

    def end(event: str, /, **_: Any) -> None:
        if event == "cpt_checkpoint_saved":
            raise InterruptedError

    def note(event: str, /, step: int = 0, **_: Any) -> None:
        if event == "cpt_step_ended":
            begun.append(step)

    run("whole")
    run("again")
    with suppress(InterruptedError):
        run("resumed", end)
    run("resumed", note)
    resumed = _apart(runs / "whole", runs / "resumed")
    twice = _apart(runs / "whole", runs / "again")
    return {"steps": place.steps, "resumed_at_step": begun[0], "resumed": resumed, "twice": twice}


def _apart(one: Path, other: Path) -> dict[str, float]:
    """Largest differences of a loss, and of a weight at the end."""
    from safetensors.torch import load_file

    losses = [abs(a["loss"] - b["loss"]) for a, b in zip(log_of(one), log_of(other), strict=True)]
    first, second = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    weights = [(first[name].float() - second[name].float()).abs().max() for name in first]
    return {"loss": max(losses), "weight": float(max(weights))}
