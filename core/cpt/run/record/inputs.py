"""What a stage is made from, as plain data: options, the code of components, content on disk."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from os import path as names
from pathlib import Path
from typing import Any

import attrs

from cpt import models, paths
from cpt.roles import Component, Service
from cpt.run.record.code import code_of, installed

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

Made = Mapping[str, Mapping[str, Any]]
"""`options`, `code` and `content`, each by address."""


def deciding(value: Any) -> Any:
    """A value as plain data, less the options that are marked `NOT_IDENTITY`."""
    if attrs.has(type(value)):
        named = {"name": value.name} if isinstance(value, Component) else {}
        return named | {name: deciding(inner) for name, inner in _fields(value)}
    if isinstance(value, Mapping):
        return {name: deciding(inner) for name, inner in value.items()}
    return [deciding(inner) for inner in value] if isinstance(value, tuple | list) else value


def code(values: Mapping[str, Any]) -> dict[str, str]:
    """The code of every component that decides, however deep, by its address."""
    plugins = installed()
    parts = ((address, part) for address, part in _parts(values) if isinstance(part, Component))
    told = ((address, code_of(type(component), plugins)) for address, component in parts)
    return {address: each for address, each in told if each}


def content(values: Mapping[str, Any]) -> dict[str, str]:
    """A digest of every file and model on this disk that an option names, by its address.

    What a service is told to use does not lie here.
    """
    return known({address: content_of(text) for address, text in _texts(values)})


def named_in(values: Mapping[str, Any], places: Iterable[Path]) -> Iterator[str]:
    """The addresses of options that name one of these files and folders, or what is in one."""
    own = [place.resolve() for place in places]
    for address, text in _texts(values):
        path = Path(text.partition("#")[0]).resolve()
        if any(path.is_relative_to(place) for place in own):
            yield address


def _texts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((address, part) for address, part in _parts(values) if isinstance(part, str))


def known(found: Mapping[str, str | None]) -> dict[str, str]:
    """Those of which something is known."""
    return {address: each for address, each in found.items() if each}


def content_of(text: str) -> str | None:
    """A digest of the file (`FILE` or `FILE#AUTHOR`) or model of that name, else nothing.

    A model counts by its weights and tokenizer; one of the hub by its revision, if it is here.
    A path with a scheme (`lab:policy`) counts by its name: it is made where it is missing.
    """
    if text and names.isfile(names.join(text, "config.json")):
        return models.folder_digest(Path(text))
    for name in (text, text.rpartition("#")[0]):
        if names.isfile(name):
            return digest_of(Path(name))
    return _revision(text) if HUB_ID.fullmatch(text) and not names.exists(text) else None


def source_digest(source: str, table: str) -> str | None:
    """A digest of the content of a data source; of a run's folder, of its `table`."""
    path = table_of(source, table)
    return digest_of(path) if path.exists() else None


def table_of(source: str, table: str) -> Path:
    """Where a data source lies; of a run's folder, where its `table` does."""
    path = Path(paths.resolve(source))
    held = path / f"{table}.parquet"
    return held if held.exists() else path


def digest_of(path: Path) -> str:
    """The content of a file, or of all files of a folder, as 32 hexadecimal digits."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    state = hashlib.blake2b(digest_size=16)
    for file in files:
        state.update(str(file.relative_to(path.parent)).encode())
        with file.open("rb") as opened:
            state.update(hashlib.file_digest(opened, "blake2b").digest())
    return state.hexdigest()


def digest_of_plain(value: Any) -> str:
    """The same of plain data."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _revision(name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    with suppress(ValueError):  # not a name that the hub could have
        found = try_to_load_from_cache(name, "config.json")
        return Path(found).parent.name if isinstance(found, str) else None
    return None


def _parts(value: Any, address: str = "") -> Iterator[tuple[str, Any]]:
    """Every component and every text that decides, each with its address."""
    if isinstance(value, str | Component):
        yield address, value
    for name, inner in _members(value):
        if not (isinstance(value, Service) and isinstance(inner, str)):
            yield from _parts(inner, f"{address}.{name}".removeprefix("."))


def _members(value: Any) -> Iterable[tuple[Any, Any]]:
    if attrs.has(type(value)):
        return _fields(value)
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, tuple | list) else ()


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """The options of a component or a group that are not marked `NOT_IDENTITY`."""
    for field in attrs.fields(type(value)):
        if field.init and field.metadata.get("identity", True):
            yield field.name, getattr(value, field.name)
