"""When torchao is imported: only where something needs it.

Transformers and PEFT import it wherever it is installed, which takes seconds, and it complains of
every kernel that was built for another machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

NAME = "torchao"
COMPLAINING = (NAME, "torch.utils._pytree")
"""Loggers of what it says as it is imported."""


def hide() -> None:
    """Let no library of this process find it until `need` is called, if none has imported it."""
    # What Python's import system documents for a module that must not be found.
    sys.modules.setdefault(NAME, None)  # type: ignore[arg-type]


def need() -> None:
    """Let it be found again."""
    if sys.modules.get(NAME, ...) is None:
        del sys.modules[NAME]


def need_for(config: Mapping[str, Any]) -> None:
    """Let it be found again if a model with this configuration is stored in its formats."""
    if (config.get("quantization_config") or {}).get("quant_method") == NAME:
        need()


@contextmanager
def quiet() -> Iterator[None]:
    """Around its import: without what it says of kernels and of torch."""
    import logging  # slow to import

    loggers = [logging.getLogger(name) for name in COMPLAINING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
