"""What a service sends, read in bounded memory."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterable, AsyncIterator
from tempfile import TemporaryFile
from typing import Any

from cpt.errors import Malformed

MOST_BYTES = 100_000_000
"""Bytes of an answer: far above any that a model writes, and far below a machine's memory."""
PIECE = 1 << 20
"""Bytes that are unpacked at a time."""
WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""How zlib reads each encoding."""
ACCEPTED = "gzip, deflate"
"""For the header Accept-Encoding: what `read_body` can read."""


async def read_body(chunks: AsyncIterable[bytes], encoding: str = "") -> bytes:
    """All of a body as it came over the network. Raises `Malformed` if it is over 100 MB.

    `encoding` is its Content-Encoding; what is compressed counts by what comes out.
    """
    data = bytearray()
    async for piece in unpacked(chunks, encoding):
        data += piece
        _check(len(data))
    return bytes(data)


async def unpacked(chunks: AsyncIterable[bytes], encoding: str = "") -> AsyncIterator[bytes]:
    """A body in pieces of at most 1 MB. Raises `Malformed` if it cannot be unpacked."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        async for chunk in chunks:
            yield chunk
        return
    if encoding not in WINDOWS:
        raise Malformed(f"an answer in the encoding {encoding!r}, which nobody asked for")
    unpack = zlib.decompressobj(WINDOWS[encoding])
    async for chunk in chunks:
        try:
            while chunk:
                yield unpack.decompress(chunk, PIECE)
                chunk = unpack.unconsumed_tail
        except zlib.error:
            raise Malformed(f"what came back is not {encoding}") from None
    yield unpack.flush()


async def in_lines(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same pieces. Raises `Malformed` once a line is over 100 MB."""
    length = 0
    async for piece in pieces:
        end = piece.rfind(b"\n")
        length = len(piece) - end - 1 if end >= 0 else length + len(piece)
        _check(length)
        yield piece


async def lines_of(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The lines of a body of any length, such as the results of a batch, without empty ones.

    All of it is on the disk, in a file without a name, before the first line comes, so that a slow
    reader holds no connection open.
    """
    with TemporaryFile() as file:
        async for piece in pieces:
            file.write(piece)
        file.seek(0)
        for line in file:
            if line.strip():
                yield line


def _check(size: int) -> None:
    if size > MOST_BYTES:
        raise Malformed(f"an answer of more than {MOST_BYTES / 1e6:.0f} MB")


def read_json(data: bytes | str) -> Any:
    """The JSON in a body. Raises `Malformed`, with how the body begins."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        start = data[:200] if isinstance(data, str) else data[:200].decode(errors="replace")
        raise Malformed(f"what came back is not JSON: {start}") from None


def read_error(data: bytes | str) -> Any:
    """The body of an error, whatever it is: JSON, or else text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        # Its beginning says what there is to say.
        return data[:10_000] if isinstance(data, str) else data[:10_000].decode(errors="replace")
