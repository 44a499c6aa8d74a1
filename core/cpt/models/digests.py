"""Digests of what is in a model's folder, kept so that a file is read once."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from cpt import paths
from cpt.errors import CptError
from cpt.files import write_text

TOKENIZER = ("*tokenizer*.json", "*tokenizer*.model", "chat_template*", "generation_config.json")
"""Files beside the weights that decide what a model reads and when it stops."""


def code_mark(folder: Path, *, trust_remote_code: bool) -> str:
    """What distinguishes a model that runs code of its folder from its weights in other code."""
    return "+code" if trust_remote_code and any(folder.glob("*.py")) else ""


def folder_digest(folder: Path) -> str:
    """The digest of the model in a folder: weights, configuration, tokenizer, chat template.

    Raises `OSError` if there is no model.
    """
    files = (file for file in folder.glob("*") if file.exists())  # a link may be broken
    return _folder_digest(folder, tuple(sorted(map(_state, files))))


@lru_cache
def _folder_digest(folder: Path, state: tuple[tuple[Any, ...], ...]) -> str:
    digest = hashlib.blake2b(weights_digest(folder).encode(), digest_size=16)
    for file in sorted({file for pattern in TOKENIZER for file in folder.glob(pattern)}):
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def tokenizer_digest(folder: Path) -> str:
    """A digest of all of a model's folder but its weights that may decide what it reads."""
    digest = hashlib.blake2b(digest_size=16)
    for pattern in ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py"):
        for file in sorted(folder.glob(pattern)):
            if file.is_file():
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _state(file: Path) -> tuple[Any, ...]:
    """What changes when a file does."""
    stat = file.stat()
    return file.name, stat.st_size, stat.st_mtime_ns, stat.st_ino


def weights_digest(folder: Path) -> str:
    """A digest of a model's weights, configuration and own code. Raises `OSError` if there is none.

    A file is read once, and again only if its size, its times or its inode change.
    """
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    if len(files) == 1:
        files += sorted(folder.glob("pytorch_model*.bin"))
    files += sorted(folder.glob("*.py"))  # code of its own, if it has any
    known = _known_digests()
    found = {_stamp(file): known.get(_stamp(file)) or _file_digest(file) for file in files}
    if not found.keys() <= known.keys():
        with suppress(OSError, CptError):  # without a cache they are computed again
            write_text(_digests_file(), json.dumps(known | found))
    return hashlib.blake2b("".join(found.values()).encode(), digest_size=16).hexdigest()


def _known_digests() -> dict[str, str]:
    """Those of files that were read before; none if the cache cannot be read."""
    with suppress(OSError, ValueError, CptError):
        known = json.loads(_digests_file().read_text())
        return known if isinstance(known, dict) else {}
    return {}


def _digests_file() -> Path:
    return paths.cache_folder() / "digests.json"


def _stamp(file: Path) -> str:
    stat = file.resolve().stat()
    return f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def _file_digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "blake2b").hexdigest()[:32]
