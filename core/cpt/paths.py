"""What may stand wherever a file or a folder is expected: a path, or `SCHEME:REST`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from cpt.plugins.manager import Plugins, load_plugins

Scheme = Callable[[str], Path]
_offered: dict[str, Scheme] = {}


def resolve(text: str) -> str:
    """The path that `text` stands for; itself if no plugin offers its scheme.

    `lab:policy` becomes a folder on this machine, made first if need be.
    """
    scheme, colon, rest = text.partition(":")
    make = _schemes().get(scheme) if colon else None
    return str(make(rest)) if make else text


def offer(plugins: Plugins) -> None:
    """Let the schemes of these plugins be used in this process."""
    for schemes in plugins.manager.hook.cpt_paths():
        _offered.update(schemes)


def _schemes() -> Mapping[str, Scheme]:
    if not _offered:
        _offer_installed()
    return _offered


@cache
def _offer_installed() -> None:
    """For a component that is used from Python, where no command line has loaded plugins."""
    offer(load_plugins())


def cache_folder() -> Path:
    """The folder of what runs on this machine share; the one place that decides it.

    `CPT_CACHE` if that is set, else `cpt` in `XDG_CACHE_HOME`, else `~/.cache/cpt`.
    """
    given = os.environ.get("CPT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "cpt"
