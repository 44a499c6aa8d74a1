"""What was made of many pairs, in the cache: another training on them begins at once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import attrs
import numpy as np
from filelock import FileLock

from cpt.errors import CptError
from cpt.files import ODD, atomic_folder, json_text
from cpt.paths import cache_folder
from cpt.training.data.columns.blocks import Files
from cpt.training.data.corpus import Arrays, Corpus
from cpt.training.data.findings import Diagnosis, Finding, Lengths
from cpt.types import Pair
from cpt.types.stored import Stored

FORMAT = "1"
"""Another number whenever other files, or others of the same pairs, would be written."""
LEAST = 10_000
"""Pairs below which they are prepared faster than anyone could wait."""
PACKAGES = ("contrastive-post-training", "transformers", "tokenizers")

IDS, FACTS, ARRAYS, FOUND = "ids.bin", "facts.jsonl", "arrays.npz", "found.json"

Make = Callable[[Files], tuple[Arrays, Diagnosis]]
log = logging.getLogger("cpt")


def temporary(pairs: Sequence[Pair], make: Make) -> tuple[Corpus, Diagnosis]:
    """What is made of pairs, in files that have no name."""
    files = Files.unnamed()
    arrays, diagnosis = make(files)
    return arrays.corpus(pairs, files), diagnosis


def cached(
    pairs: Stored[Pair], make: Make, identity: Mapping[str, Any], day: date
) -> tuple[Corpus, Diagnosis]:
    """The same from the cache, or put there if the pairs are many.

    Of several processes one makes it, and the others wait for it. Raises `CptError` if what
    is in the cache is damaged.
    """
    folder = _folder() if len(pairs) >= LEAST else None
    if folder is None:
        return temporary(pairs, make)
    name = folder / _digest(pairs, identity)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{name}.lock"):
            if not name.exists():
                _keep(name, make)
    except OSError as error:
        log.warning("what is made of the pairs cannot be kept (%s)", error)
        return temporary(pairs, make)
    arrays, files, diagnosis = _read(name)
    return arrays.corpus(pairs, files), attrs.evolve(diagnosis, day=day.isoformat())


def _folder() -> Path | None:
    """Where it is kept, if there is such a place."""
    try:
        return cache_folder() / "prepared"
    except CptError:
        return None


def _digest(pairs: Stored[Pair], identity: Mapping[str, Any]) -> str:
    versions = [version(name) for name in PACKAGES]
    parts = json.dumps([FORMAT, versions, pairs.digest, identity], sort_keys=True, default=str)
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


def _keep(folder: Path, make: Make) -> None:
    with atomic_folder(folder) as temporary:
        with (temporary / IDS).open("wb") as ids, (temporary / FACTS).open("wb") as facts:
            arrays, diagnosis = make(Files(ids, facts))
        np.savez(temporary / ARRAYS, **attrs.asdict(arrays, recurse=False))
        (temporary / FOUND).write_text(json_text(attrs.asdict(diagnosis)), encoding="utf-8")


def _read(folder: Path) -> tuple[Arrays, Files, Diagnosis]:
    try:
        with np.load(folder / ARRAYS) as arrays:
            found = Arrays(**arrays)
        files = Files((folder / IDS).open("rb"), (folder / FACTS).open("rb"))
        return found, files, _diagnosis(json.loads((folder / FOUND).read_text(encoding="utf-8")))
    except (*ODD, OSError, BadZipFile) as error:
        raise CptError(f"{folder}: damaged ({error}); delete this folder.") from error


def _diagnosis(plain: dict[str, Any]) -> Diagnosis:
    lengths = plain.pop("lengths")
    findings = tuple(Finding(**finding) for finding in plain.pop("findings"))
    return Diagnosis(**plain, findings=findings, lengths=lengths and Lengths(**lengths))
