"""Log-probabilities under the reference model: computed once for a sequence, found ever after.

They are kept token by token, so that one artefact serves every loss. A value is found again only
under the same token ids, weights, precision and kind of device; nothing else it could depend on
(a template, a truncation, a tokenizer) acts other than through the token ids.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cpt.errors import CptError
from cpt.files import atomic
from cpt.models import weights_digest
from cpt.paths import cache_folder

FORM = "1"
"""Changed whenever the same weights and token ids would give other values than before."""

Values = NDArray[np.float32]


def identity(folder: Path, precision: str, device: str) -> str:
    """What names the values of a model: its weights and how it is computed."""
    parts = "\n".join([FORM, weights_digest(folder), precision, device])
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


@attrs.frozen(kw_only=True)
class Store:
    """Where values of one identity are kept: files that are added, never changed.

    The run's own folder is enough for the run to be taken elsewhere; the cache is what all runs on
    this machine share.
    """

    run: Path
    cache: Path

    def read(self, wanted: Iterable[bytes]) -> dict[bytes, Values]:
        """What there is of the wanted keys. Raises `CptError` for a damaged file."""
        found: dict[bytes, Values] = {}
        for folder in (self.run, self.cache):
            found |= _read_all(folder, set(wanted) - found.keys())
        return found

    def add(self, values: Mapping[bytes, Values]) -> None:
        """Keep what was computed, where every run finds it."""
        _write(self.cache, values)

    def keep(self, values: Mapping[bytes, Values]) -> None:
        """Copy to the run what it does not have yet."""
        here = _read_all(self.run, set(values))
        _write(self.run, {name: each for name, each in values.items() if name not in here})


def store(output: Path, name: str) -> Store:
    """The store of an `identity`, for a run in the folder `output`."""
    return Store(run=output / "reference" / name, cache=cache_folder() / "reference" / name)


def _write(folder: Path, values: Mapping[bytes, Values]) -> None:
    if not values:
        return
    tensors: dict[str, NDArray[Any]] = {
        "keys": np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, 16),
        "lengths": np.array([len(each) for each in values.values()], dtype=np.int64),
        "values": np.concatenate(list(values.values())),
    }
    with atomic(folder / f"{uuid.uuid4().hex}.safetensors") as temporary:
        save_file(tensors, temporary)


def _read_all(folder: Path, wanted: set[bytes]) -> dict[bytes, Values]:
    found: dict[bytes, Values] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            found |= _read(file, wanted - found.keys())
        except (SafetensorError, OSError) as error:
            raise CptError(f"{file}: damaged ({error}); delete it.") from error
    return found


def _read(file: Path, wanted: set[bytes]) -> dict[bytes, Values]:
    with safe_open(file, framework="numpy") as content:
        keys = [bytes(each) for each in content.get_tensor("keys")]
        if wanted.isdisjoint(keys):
            return {}
        ends = np.cumsum(content.get_tensor("lengths"))
        values = content.get_tensor("values")
    return {
        name: values[end - length : end].copy()
        for name, length, end in zip(keys, np.diff(ends, prepend=0), ends, strict=True)
        if name in wanted
    }
