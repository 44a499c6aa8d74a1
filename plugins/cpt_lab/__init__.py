"""The lab: a small world with known right answers, and models of every quality that live in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cpt
from cpt_lab.checker import Checker
from cpt_lab.ignorant import Ignorant
from cpt_lab.presets import PRESETS
from cpt_lab.recipes import make
from cpt_lab.reviser import Reviser


@cpt.hookimpl
def cpt_responders() -> list[type[cpt.Responder]]:
    return [Ignorant, Reviser]


@cpt.hookimpl
def cpt_judges() -> list[type[cpt.Judge]]:
    return [Checker]


@cpt.hookimpl
def cpt_paths() -> Mapping[str, Callable[[str], Path]]:
    return {"lab": make}


@cpt.hookimpl
def cpt_presets() -> Mapping[str, Mapping[str, Any]]:
    return PRESETS
