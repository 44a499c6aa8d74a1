"""The lab: a small world with known right answers, and models of every quality that live in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cpt
from cpt_lab.presets import PRESETS


@cpt.hookimpl
def cpt_responders() -> dict[str, str]:
    return {
        "lab_ignorant": "cpt_lab.ignorant:Ignorant",
        "lab_reviser": "cpt_lab.reviser:Reviser",
    }


@cpt.hookimpl
def cpt_judges() -> dict[str, str]:
    return {"lab_checker": "cpt_lab.checker:Checker"}


@cpt.hookimpl
def cpt_paths() -> Mapping[str, Callable[[str], Path]]:
    return {"lab": _make}


@cpt.hookimpl
def cpt_presets() -> Mapping[str, Mapping[str, Any]]:
    return PRESETS


def _make(rest: str) -> Path:
    from cpt_lab.recipes import make

    return make(rest)
