"""Log-probabilities under the reference model: computed once for a sequence, then kept.

They are kept token by token, so that one store serves every loss. A value is found again only
under the same token ids, weights, precision and kind of device. Whatever else it depends on (a
template, a truncation, a tokenizer) acts through the token ids.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import attrs
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cpt.errors import CptError
from cpt.files import atomic
from cpt.models import code_mark, weights_digest
from cpt.paths import cache_folder
from cpt.training.data.columns.table import Digests

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


@attrs.frozen(eq=False, kw_only=True)
class Found:
    """Values of some of those that are wanted, one after the other."""

    places: NDArray[np.int64]
    """Which of the wanted they are. Shape (found,)."""
    lengths: NDArray[np.int64]
    """Tokens of each. Shape (found,)."""
    values: AnswerLogps


@attrs.frozen(eq=False)
class Wanted:
    """Distinct digests, and which of them are still missing."""

    digests: Digests
    missing: NDArray[np.bool_]
    """Shape (digests,)."""
    _order: NDArray[np.int64]
    """Puts the digests into ascending order."""

    @classmethod
    def of(cls, digests: Digests) -> Wanted:
        return cls(digests, np.ones(len(digests), dtype=bool), np.argsort(digests, kind="stable"))

    def places_of(self, digests: Digests) -> NDArray[np.int64]:
        """The place of each digest among those that are missing, or -1."""
        near = np.searchsorted(self.digests, digests, sorter=self._order)
        places = self._order[np.minimum(near, len(self._order) - 1)]
        wanted = (self.digests[places] == digests) & self.missing[places]
        return np.where(wanted, places, -1)


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
        names = list(dict.fromkeys(wanted))
        found: dict[bytes, AnswerLogps] = {}
        for some in self.find(Wanted.of(np.array(names, dtype="S16"))):
            parts = np.split(some.values, np.cumsum(some.lengths)[:-1])
            found |= {
                names[place]: part.copy()
                for place, part in zip(some.places.tolist(), parts, strict=True)
            }
        return found

    def find(self, wanted: Wanted, *, here: bool = False) -> Iterator[Found]:
        """What there is of what is missing, file by file; `here` is in the run's folder alone.

        Raises `CptError` for a damaged file.
        """
        for folder in (self.run, *([self.cache] if self.cache and not here else [])):
            yield from _found_in(folder, wanted)

    def temporary(self) -> IO[bytes]:
        """A file beside the run's values that has no name."""
        self.run.mkdir(parents=True, exist_ok=True)
        return TemporaryFile(dir=self.run)

    def add(self, values: Mapping[bytes, AnswerLogps]) -> None:
        """Write values to the cache, or to the run where the cache cannot be written."""
        try:
            _write(self.cache or self.run, values)
        except OSError:
            _write(self.run, values)

    def keep(self, values: Mapping[bytes, AnswerLogps]) -> None:
        """Write values to the run."""
        _write(self.run, values)


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


def _found_in(folder: Path, wanted: Wanted) -> Iterator[Found]:
    for file in sorted(folder.glob("*.safetensors")):
        if not wanted.missing.any():
            return
        try:
            found = _read(file, wanted)
        except (SafetensorError, OSError) as error:
            raise CptError(f"{file}: damaged ({error}); delete it.") from error
        if found:
            wanted.missing[found.places] = False
            yield found


def _read(file: Path, wanted: Wanted) -> Found | None:
    with safe_open(file, framework="numpy") as content:
        digests = np.ascontiguousarray(content.get_tensor("digests")).view("S16").ravel()
        places = wanted.places_of(digests)
        hit = places >= 0
        if not hit.any():
            return None
        lengths = content.get_tensor("lengths")
        values = content.get_tensor("values")[np.repeat(hit, lengths)]
    return Found(places=places[hit], lengths=lengths[hit], values=values)
