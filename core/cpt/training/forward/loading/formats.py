"""The formats that weights are held in: fp32, bf16, or four bits (NF4, arXiv 2305.14314)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from cpt.errors import CptError
from cpt.training.options import Weights


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
