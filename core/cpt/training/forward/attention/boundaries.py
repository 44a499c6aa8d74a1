"""Where packed sequences begin, as transformers tells it the kernels of recurrent layers."""

from __future__ import annotations

import torch
from torch import Tensor

from cpt.training.data.inputs import ModelInputs, copied
from cpt.training.forward.attention.varlen import offsets


def boundaries(inputs: ModelInputs) -> dict[str, Tensor]:
    """What a model passes on to its layers: `cu_seqlens` for FLA, `seq_idx` for Mamba's.

    Offsets of shape (segments + 1,), and the number of each token's segment, of shape
    (1, seq_len). Both int32.
    """
    device = inputs.input_ids.device
    lengths = [segment.length for segment in inputs.segments]
    begins = offsets(lengths, device)
    numbers = [number for number, length in enumerate(lengths) for _ in range(length)]
    return {
        "cu_seq_lens_q": begins,
        "cu_seq_lens_k": begins,
        "seq_idx": copied(numbers, device, torch.int32)[None],
    }
