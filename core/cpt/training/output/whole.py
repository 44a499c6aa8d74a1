"""A model that holds more than text, such as vision, and whose text part alone was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpt.training.forward.architecture import backbone_of
from cpt.training.forward.loading.model import whole_class


def whole(base: Path, text: Any, weights: Mapping[str, Tensor]) -> tuple[Any, Mapping[str, Tensor]]:
    """The model in `base`, and its weights with those of its text part replaced.

    `weights` are those of `text`, by their names there; both are returned as they are where the
    folder holds nothing else.
    """
    kind = whole_class(base, text)
    if kind is None:
        return text, weights
    model = kind.from_pretrained(base, dtype=torch.float32)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = text.config.tie_word_embeddings
    names = _names(text, model)
    renamed = {_renamed(name, names): weight for name, weight in weights.items()}
    return model, {**model.state_dict(), **renamed}


def _names(text: Any, model: Any) -> dict[str, str]:
    """What the parts of a text model are called in one that holds it."""
    backbone = backbone_of(text)
    inside = next(part for part in model.modules() if type(part) is type(backbone))
    pairs = [(backbone, inside), (text.get_output_embeddings(), model.get_output_embeddings())]
    return {_name(text, part): _name(model, same) for part, same in pairs}


def _name(model: Any, wanted: Any) -> str:
    return str(next(name for name, part in model.named_modules() if part is wanted))


def _renamed(weight: str, names: Mapping[str, str]) -> str:
    part = next(name for name in names if weight.startswith(f"{name}."))
    return f"{names[part]}{weight.removeprefix(part)}"
