"""Models on this machine, for components that run one: where it lies, what it is, what fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cpt import paths

TOKENIZER = ("*tokenizer*.json", "*tokenizer*.model", "chat_template*", "generation_config.json")
"""Files beside the weights that decide what a model is told and when it stops."""


def folder_of(model: str) -> Path:
    """The folder of a model, given by path, by scheme or by hub id. Raises `CptError`."""
    from cpt.training.loading import model_folder

    return model_folder(paths.resolve(model))


def name_of(model: str) -> str:
    """What a model is called: its folder, or the run that it stands in, without looking there."""
    parts = model.replace(":", "/").rstrip("/").split("/")
    return parts[-2] if parts[-1] == "model" and len(parts) > 1 and parts[-2] else parts[-1]


def weights_of(model: str) -> str:
    """A digest of all that makes a model answer as it does. Raises `CptError`.

    Equal for copies in other places; another one as soon as the folder holds another model.
    """
    return weights_in(folder_of(model))


def weights_in(folder: Path) -> str:
    """The same, of the model in a folder. Raises `OSError` if there is none."""
    files = (file for file in folder.glob("*") if file.exists())  # links may lead nowhere
    return _digest(folder, tuple(sorted(map(_state, files))))


@lru_cache
def _digest(folder: Path, state: tuple[tuple[Any, ...], ...]) -> str:
    from cpt.training.reference import fingerprint

    digest = blake2b(fingerprint(folder).encode(), digest_size=16)
    for file in sorted({file for pattern in TOKENIZER for file in folder.glob(pattern)}):
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _state(file: Path) -> tuple[Any, ...]:
    """What changes when a file does."""
    stat = file.stat()
    return file.name, stat.st_size, stat.st_mtime_ns, stat.st_ino


def device_of(name: str) -> str:
    """The device that `auto` means here: the first accelerator, or else the CPU."""
    import torch

    if name != "auto":
        return name
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator else "cpu"


def batches(lengths: Sequence[int], tokens: int, extra: int = 0) -> Iterator[list[int]]:
    """Cut indices into batches of similar length, the longest first.

    A batch, padded to its longest and with `extra` for each row, takes at most `tokens`; a row too
    long for that goes alone.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = max(1, tokens // (lengths[order[start]] + extra))
        yield order[start : start + size]
        start += size
