"""Training on a CPU: freed memory is kept for the next step."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import torch

# From <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it is glibc; for training on a CPU.

    By default every large tensor is mapped when it is made and unmapped when it is freed, and the
    system clears each of its pages again: that takes longer than computing with them.
    """
    # oneDNN keeps 1,024 kernels, one for each length that it met. They are scattered between the
    # tensors, and the gaps around them fit no other tensor: a fifth of all memory after 25 steps.
    # Where matrices are fast, making a kernel takes a larger share of a step: a tenth with 64.
    kernels = "256" if _has_matrix_units() else "64"
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", kernels)
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
        mallopt(M_TOP_PAD, 2**26)


def _has_matrix_units() -> bool:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def count_parameters(folder: Path) -> int:
    """About how many parameters a model's folder holds."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) // 4
