"""A part of `gpu.py`, the place where it runs, and what several parts do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import material

from cpt.files import atomic_folder

Report = Callable[[dict[str, Any]], None]
"""A part calls it with all that it knows whenever it knows more: the last report remains if
it fails or is ended."""


@attrs.frozen(kw_only=True)
class Part:
    """What it does, on which shape, with which options of `train`."""

    do: str
    shape: str
    options: Mapping[str, Any] = attrs.field(factory=dict)
    padded: bool = False
    """Whether rows are padded, as where a model cannot be packed."""
    needs: tuple[str, ...] = ()
    """Libraries without which it is left out."""
    seconds: float = 50.0
    """Its share of the budget. What the parts before it have left of theirs comes on top."""


@attrs.frozen(kw_only=True)
class Place:
    """Where a part runs."""

    device: str
    small: bool
    scratch: Path
    """A folder that all parts share."""
    output: Path
    """A folder of the part's own."""

    @property
    def batch(self) -> int:
        return 4 if self.small else 32

    @property
    def steps(self) -> int:
        return len(self.pairs()) // self.batch

    def pairs(self) -> list[Any]:
        """Random words; the same ones each time."""
        return material.invented(12 if self.small else 128, words=12 if self.small else 200)


def folder_of(part: Part, place: Place, *, weights: bool) -> Path:
    """The folder of a shape, made by the first part that wants it."""
    folder = place.scratch / (part.shape if weights else f"{part.shape}, no weights")
    if not folder.exists():
        with atomic_folder(folder) as made:
            if weights:
                material.make_model(part.shape, made, device=place.device)
            else:
                material.config(part.shape).save_pretrained(made)
            material.make_tokenizer(material.invented(50), min(vocabulary_of(part), 8000), made)
    return folder


def vocabulary_of(part: Part) -> int:
    return material.MODELS[part.shape]["vocab_size"]


def trained(
    part: Part, place: Place, model: Path, output: Path, notify: Callable[..., None]
) -> list[dict[str, Any]]:
    """The lines of its log."""
    from trainers import Sequential

    from cpt.training import train
    from cpt.training.options import Training
    from cpt_dpo import Dpo

    train(
        place.pairs(),
        model=model,
        scheduler=Sequential(),
        loss=Dpo(),
        options=Training(
            batch_size=place.batch,
            log_every=1,
            checkpoint_every=2 if part.do == "resume" else 0,
            warmup=0.0,
            device="cpu" if place.device == "cpu" else "auto",
            **part.options,
        ),
        seed=0,
        output=output,
        notify=notify,
    )
    return log_of(output)


def log_of(output: Path) -> list[dict[str, Any]]:
    from cpt.training.loss import metrics

    return metrics.read(output / "metrics.jsonl")
