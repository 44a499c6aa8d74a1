"""Where packed sequences begin, as transformers tells it the kernels of recurrent layers."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from cpt.training.data.inputs import ModelInputs, copied


def boundaries(inputs: ModelInputs) -> dict[str, Tensor]:
    """What a model passes on to its layers: `cu_seqlens` for FLA, `seq_idx` for Mamba's.

    Offsets of shape (segments + 1,), and the number of each token's segment, of shape
    (1, seq_len). Both int32.
    """
    device = inputs.input_ids.device
    lengths = [segment.length for segment in inputs.segments]
    offsets = copied([0, *accumulate(lengths)], device, torch.int32)
    numbers = [number for number, length in enumerate(lengths) for _ in range(length)]
    return {
        "cu_seq_lens_q": offsets,
        "cu_seq_lens_k": offsets,
        "seq_idx": copied(numbers, device, torch.int32)[None],
    }
