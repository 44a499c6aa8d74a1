"""Paths as a user writes them: a path, or `SCHEME:REST` where a plugin offers the scheme."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from cpt.errors import CptError
from cpt.plugins.manager import Plugins, load_plugins
from cpt.plugins.offers import Offers

Scheme = Callable[[str], Path]
_offered: list[Offers[Scheme]] = []


def resolve(text: str) -> str:
    """The path that `text` means; `text` itself if no plugin offers its scheme.

    `lab:policy` becomes a folder on this machine, made first if need be. Raises `CptError` if two
    plugins offer the scheme: `PLUGIN/SCHEME:REST` picks one.
    """
    scheme, colon, rest = text.partition(":")
    make = _schemes().find(scheme) if colon else None
    if make is None:
        return text
    path = make(rest)
    if not isinstance(path, str | Path):
        raise CptError(f"{text}: the path scheme {scheme!r} must return a path, got {path!r}.")
    return str(path)


def split_author(text: str) -> tuple[str, str, str]:
    """`FILE#AUTHOR` as FILE, `#`, AUTHOR; the last two are empty where there is no author.

    Both may hold a `#`: the longest FILE that exists is meant, else the shortest.
    """
    cuts = [place for place, letter in enumerate(text) if letter == "#"]
    longest_first = [len(text), *reversed(cuts)]
    cut = next((cut for cut in longest_first if os.path.exists(text[:cut])), None)
    if cut is None:
        cut = cuts[0] if cuts else len(text)
    return text[:cut], text[cut : cut + 1], text[cut + 1 :]


def split_function(text: str) -> tuple[str, str]:
    """`FILE.py:NAME` or `MODULE:NAME` as its two parts; the second is empty where there is none."""
    place, _, name = text.rpartition(":")
    return (place, name) if place else (text, "")


def offer(plugins: Plugins) -> None:
    """Let the schemes of these plugins, and no others, be used in this process."""
    _offered[:] = [plugins.offers("cpt_paths", "path scheme")]


def _schemes() -> Offers[Scheme]:
    return _offered[0] if _offered else _installed()


@cache
def _installed() -> Offers[Scheme]:
    """For a component that is used from Python, where no command line has loaded plugins."""
    return load_plugins().offers("cpt_paths", "path scheme")


def cache_folder() -> Path:
    """The folder of what runs on this machine share; the one place that decides it.

    `CPT_CACHE` if that is set, else `cpt` in `XDG_CACHE_HOME`, else `~/.cache/cpt`. Raises
    `CptError` if none of them is set and this user has no home.
    """
    if given := os.environ.get("CPT_CACHE"):
        return Path(given)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise CptError("CPT_CACHE must be set: this user has no home folder.") from error
    return Path(base) / "cpt"
