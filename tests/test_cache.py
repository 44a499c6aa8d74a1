"""Where things that are made once are kept: one function decides it for everybody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cpt.paths import cache_folder
from cpt.training.reference.store import open_store
from cpt_lab.settings import Settings

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"CPT_CACHE": "/given"}, "/given"),
        ({"CPT_CACHE": "/given", "XDG_CACHE_HOME": "/xdg"}, "/given"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/cpt"),
        ({}, "/home/.cache/cpt"),
    ],
    ids=str,
)
def test_the_cache_is_in_one_place(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("CPT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == folder
    assert Settings().folder.is_relative_to(f"{folder}/lab")
    cache = open_store(Path("run"), "name").cache
    assert cache is not None and cache.is_relative_to(f"{folder}/reference")


def test_nothing_else_reads_the_variables() -> None:
    readers = {
        str(file.relative_to(ROOT))
        for folder in ("core", "plugins")
        for file in (ROOT / folder).rglob("*.py")
        if re.search(r"environ.*CPT_CACHE|XDG_CACHE_HOME|\"\.cache\"", file.read_text())
    }
    assert readers == {"core/cpt/paths.py"}
