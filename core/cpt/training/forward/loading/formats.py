"""The formats that weights are held in (fp32, bf16, NF4: arXiv 2305.14314) or multiplied in."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from cpt.errors import CptError
from cpt.models import torchao
from cpt.training.options import Weights

FLOAT8_CAPABILITY = (8, 9)
"""Compute capability of the first GPUs that multiply in float8."""
MULTIPLE = 16
"""What both sizes of a matrix must be multiples of to be multiplied in float8."""
ROUTER = re.compile(r"(.*\.)?(gate|router|wg)(\..*)?")
"""How a linear layer is called that chooses experts, for which float8 is too coarse."""


def format_of(weights: Weights) -> dict[str, Any]:
    """What `from_pretrained` is given for weights of a format. Raises `CptError`."""
    if weights != "nf4":
        return {"dtype": torch.float32 if weights == "fp32" else torch.bfloat16}
    refuse_without_nf4()
    from transformers import BitsAndBytesConfig

    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    where = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    return {"dtype": torch.bfloat16, "quantization_config": quantized, "device_map": where}


def refuse_without_nf4() -> None:
    """Raise `CptError` where bitsandbytes is missing."""
    if find_spec("bitsandbytes") is None:
        raise CptError(
            "train.weights nf4: bitsandbytes is not installed; "
            "`pip install 'contrastive-post-training[qlora]'`, or train.weights bf16."
        )


def multiply_in_float8(model: nn.Module, head: nn.Module | None, device: torch.device) -> None:
    """Let the linear layers of a model but its `head` multiply in float8; a CPU imitates it.

    Each row has a scale of its own, so that no token depends on what else is in a call. Raises
    `CptError` where the device cannot do it.
    """
    _refuse_without_float8(device)
    torchao.need()
    with torchao.quiet():
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    def fits(layer: nn.Module, name: str) -> bool:
        if type(layer) is not nn.Linear or layer is head or ROUTER.fullmatch(name):
            return False
        return not any(size % MULTIPLE for size in layer.weight.shape)

    config = replace(
        Float8LinearConfig.from_recipe_name("rowwise"),
        pad_inner_dim=True,  # the number of tokens, of which there are any
        emulate=device.type == "cpu",
    )
    before = dict(model.named_modules())
    convert_to_float8_training(model, module_filter_fn=fits, config=config)
    for name, layer in model.named_modules():
        _take_hooks(layer, before[name])


def _take_hooks(layer: nn.Module, before: nn.Module) -> None:
    if layer is not before:
        hooks = {name: of for name, of in vars(before).items() if name.startswith("_forward_")}
        vars(layer).update(hooks, training=before.training)


def _refuse_without_float8(device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < FLOAT8_CAPABILITY:
        raise CptError(
            f"train.precision fp8: {torch.cuda.get_device_name(device)} does not multiply in "
            "float8, which GPUs do from the L40 and the H100 on; use bf16."
        )
