"""A digest of plain data that is too large to hold as one text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def digest_of(parts: Mapping[str, Iterable[bytes]]) -> str:
    """The digest of a mapping, of each value of which the JSON comes in pieces."""
    return hash_of(_mapped(parts))


def json_of(value: Any) -> list[bytes]:
    """The JSON of a value that is small, as one piece."""
    return [one_json(value)]


def one_json(value: Any) -> bytes:
    """The JSON of a value; what JSON has no form for is written as its text."""
    return json.dumps(value, default=str, sort_keys=True).encode()


def listed(texts: Iterable[bytes]) -> Iterator[bytes]:
    """A list as JSON, of the texts of what is in it."""
    yield b"["
    for number, text in enumerate(texts):
        yield b", " + text if number else text
    yield b"]"


def hash_of(parts: Iterable[bytes]) -> str:
    """The digest of some bytes, one after the other, as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _mapped(parts: Mapping[str, Iterable[bytes]]) -> Iterator[bytes]:
    """A mapping as one JSON text, piece by piece: the whole would not fit in memory."""
    for number, name in enumerate(sorted(parts)):
        yield f'{", " if number else "{"}"{name}": '.encode()
        yield from parts[name]
    yield b"}"
