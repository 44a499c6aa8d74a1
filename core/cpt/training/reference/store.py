"""Log-probabilities under the reference model: computed once for a sequence, then kept.

They are kept token by token, so that one store serves every loss. A value is found again only
under the same token ids, weights, precision and kind of device. Whatever else it depends on (a
template, a truncation, a tokenizer) acts through the token ids.
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
from cpt.models import code_mark, weights_digest
from cpt.paths import cache_folder

FORMAT = "3"
"""Another number whenever the files, or the values of the same weights and ids, would differ."""

AnswerLogps = NDArray[np.float32]
"""log p of each token of an answer. Shape (answer,)."""


def store_digest(
    folder: Path, precision: str, device: str, *, trust_remote_code: bool = False
) -> str:
    """A digest of what decides the values of a model: its weights and how it is computed."""
    weights = weights_digest(folder) + code_mark(folder, trust_remote_code=trust_remote_code)
    parts = "\n".join([FORMAT, weights, precision, device])
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


@attrs.frozen(kw_only=True)
class Store:
    """Where the values of one `store_digest` are kept: files that are added, never changed.

    The run's own folder is complete, so that a run can be moved; the cache is shared by all runs
    on this machine.
    """

    run: Path
    cache: Path | None
    """None if there is no folder for it."""

    def read(self, wanted: Iterable[bytes]) -> dict[bytes, AnswerLogps]:
        """The values that there are, by digest. Raises `CptError` for a damaged file."""
        found: dict[bytes, AnswerLogps] = {}
        for folder in (self.run, self.cache):
            if folder:
                found |= _read_all(folder, set(wanted) - found.keys())
        return found

    def add(self, values: Mapping[bytes, AnswerLogps]) -> None:
        """Write values to the cache, or to the run where the cache cannot be written."""
        try:
            _write(self.cache or self.run, values)
        except OSError:
            _write(self.run, values)

    def keep(self, values: Mapping[bytes, AnswerLogps]) -> None:
        """Write values to the run, those that it does not have yet."""
        here = _read_all(self.run, set(values))
        _write(self.run, {name: logps for name, logps in values.items() if name not in here})


def open_store(output: Path, digest: str) -> Store:
    """The store with a `store_digest`, for a run in the folder `output`."""
    try:
        cache = cache_folder() / "reference" / digest
    except CptError:
        cache = None
    return Store(run=output / "reference" / digest, cache=cache)


def open_cache(digest: str) -> Store | None:
    """The store with a `store_digest` that all runs of this machine share; None without one."""
    try:
        return Store(run=cache_folder() / "reference" / digest, cache=None)
    except CptError:
        return None


def _write(folder: Path, values: Mapping[bytes, AnswerLogps]) -> None:
    if not values:
        return
    tensors: dict[str, NDArray[Any]] = {
        "digests": np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, 16),
        "lengths": np.array([len(logps) for logps in values.values()], dtype=np.int64),
        "values": np.concatenate(list(values.values())),
    }
    with atomic(folder / f"{uuid.uuid4().hex}.safetensors") as temporary:
        save_file(tensors, temporary)


def _read_all(folder: Path, wanted: set[bytes]) -> dict[bytes, AnswerLogps]:
    found: dict[bytes, AnswerLogps] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            found |= _read(file, wanted - found.keys())
        except (SafetensorError, OSError) as error:
            raise CptError(f"{file}: damaged ({error}); delete it.") from error
    return found


def _read(file: Path, wanted: set[bytes]) -> dict[bytes, AnswerLogps]:
    with safe_open(file, framework="numpy") as content:
        digests = [bytes(row) for row in content.get_tensor("digests")]
        if wanted.isdisjoint(digests):
            return {}
        ends = np.cumsum(content.get_tensor("lengths"))
        values = content.get_tensor("values")
    return {
        name: values[end - length : end].copy()
        for name, length, end in zip(digests, np.diff(ends, prepend=0), ends, strict=True)
        if name in wanted
    }
