"""What decides the result of a stage, as plain data: options, code of components, content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from os import path as names
from pathlib import Path
from typing import Any

import attrs

from cpt import models, paths
from cpt.models import adapters
from cpt.roles import Component
from cpt.run.record.code import code_of, installed

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

Inputs = Mapping[str, Mapping[str, Any]]
"""`options`, `code` and `content`, each by address."""


def identity(value: Any) -> Any:
    """A value as plain data, without the options that are marked `NOT_IDENTITY`."""
    if attrs.has(type(value)):
        named = {"name": value.name} if isinstance(value, Component) else {}
        fields = _identity_fields(value)
        return named | {field.name: identity(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {name: identity(inner) for name, inner in value.items()}
    return [identity(inner) for inner in value] if isinstance(value, tuple | list) else value


def code(values: Mapping[str, Any]) -> dict[str, str]:
    """The code of every component, however deep, by its address."""
    plugins = installed()
    found = {
        address: code_of(type(component), plugins) for address, component in _components(values)
    }
    return known(found)


def content_digests(named: Mapping[str, str]) -> dict[str, str]:
    """A digest of every file and model on this disk, by the address of the option that names it."""
    return known({address: content_digest(text) for address, text in named.items()})


def paths_in(options: Any, names: Set[str]) -> Iterator[tuple[str, str]]:
    """The address and text of every option marked `PATH`, however deep in these fields."""
    for field in _identity_fields(options):
        if field.name in names:
            yield from _paths(getattr(options, field.name), field.name, _is_path(field))


def paths_inside(named: Mapping[str, str], places: Iterable[Path]) -> Iterator[str]:
    """The addresses of options that name one of these files and folders, or what is in one."""
    resolved = [place.resolve() for place in places]
    for address, text in named.items():
        path = Path(paths.split_author(text)[0]).resolve()
        if any(path.is_relative_to(place) for place in resolved):
            yield address


def known(found: Mapping[str, str | None]) -> dict[str, str]:
    """Those that have a value."""
    return {address: value for address, value in found.items() if value}


def content_digest(text: str) -> str | None:
    """A digest of the file or model of that name, None if it is neither.

    Of `FILE#AUTHOR` and `FILE.py:FUNCTION`, that of the file. A model counts by its weights and
    tokenizer; one of the hub by its revision, if it is here.
    A path with a scheme (`lab:policy`) counts by its name: it is made where it is missing.
    """
    if text and names.isfile(names.join(text, adapters.CONFIG)):
        return models.digest_of(text)
    if text and names.isfile(names.join(text, "config.json")):
        return models.folder_digest(Path(text))
    for file in (paths.split_author(text)[0], paths.split_function(text)[0]):
        if names.isfile(file):
            return _digest_if_there(Path(file))
    return _revision(text) if HUB_ID.fullmatch(text) and not names.exists(text) else None


def source_digest(source: str, table: str) -> str | None:
    """A digest of the content of a data source; of a run's folder, of its `table`."""
    return _digest_if_there(table_of(source, table))


def table_of(source: str, table: str) -> Path:
    """Where a data source is; of a run's folder, where its `table` is."""
    path = Path(paths.resolve(source))
    held = path / f"{table}.parquet"
    return held if held.exists() else path


def digest_of(path: Path) -> str:
    """The content of a file, or of all files of a folder, as 32 hexadecimal digits."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    state = hashlib.blake2b(digest_size=16)
    for file in files:
        state.update(str(file.relative_to(path.parent)).encode())
        with file.open("rb") as opened:
            state.update(hashlib.file_digest(opened, "blake2b").digest())
    return state.hexdigest()


def _digest_if_there(path: Path) -> str | None:
    with suppress(FileNotFoundError):  # it went after it was looked for
        return digest_of(path) if path.is_file() or path.is_dir() else None
    return None


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


def _components(value: Any, address: str = "") -> Iterator[tuple[str, Component]]:
    if isinstance(value, Component):
        yield address, value
    for name, inner, _ in _members(value):
        yield from _components(inner, f"{address}.{name}".removeprefix("."))


def _paths(value: Any, address: str, marked: bool) -> Iterator[tuple[str, str]]:
    """Every text that is marked, or in a collection that is."""
    if isinstance(value, str) and marked:
        yield address, value
    for name, inner, inner_marked in _members(value, marked):
        yield from _paths(inner, f"{address}.{name}", inner_marked)


def _members(value: Any, marked: bool = False) -> Iterator[tuple[Any, Any, bool]]:
    """Each name and value within a value, and whether it is marked as a path."""
    if attrs.has(type(value)):
        for field in _identity_fields(value):
            yield field.name, getattr(value, field.name), _is_path(field)
    elif isinstance(value, Mapping):
        yield from ((name, inner, marked) for name, inner in value.items())
    elif isinstance(value, tuple | list):
        yield from ((index, inner, marked) for index, inner in enumerate(value))


def _identity_fields(value: Any) -> Iterator[attrs.Attribute[Any]]:
    """The options of a component or a group that are not marked `NOT_IDENTITY`."""
    for field in attrs.fields(type(value)):
        if field.init and field.metadata.get("identity", True):
            yield field


def _is_path(field: attrs.Attribute[Any]) -> bool:
    return bool(field.metadata.get("path", False))
