"""How large the lab is, and what `lab:...` can name."""

from __future__ import annotations

import json
from functools import cache
from hashlib import blake2b
from pathlib import Path

import attrs

from cpt import CptError, paths

CARE = {"strong": 0.25, "middle": 0.5, "weak": 0.8}
"""How often the writers that the care rungs learn from are careless."""
SKILL = {"strong": 1.0, "middle": 0.42, "weak": 0.28}
"""At which share of the pretraining the skill rungs stop."""
PROMPTS = ("train", "dev", "test")
MODELS = ("base", "policy", *(f"{kind}/{rung}" for kind in ("care", "skill") for rung in CARE))
SOURCES = ("words", "families", "world", "tokenizer", "settings", "fitting", "recipes")
"""Modules that decide what the lab makes: if their code changes, it is made again."""


@attrs.frozen(kw_only=True)
class Settings:
    """The size of the lab."""

    seed: int = 0
    prompts: int = 2000
    """Prompts in each of the three sets."""
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    pretraining: int = 40_000
    """Answers that the base model learns from."""
    tuning: int = 6_000
    """Answers that a care rung learns from, and the policy from the strong one."""

    @property
    def folder(self) -> Path:
        """The folder of all that is made with these settings."""
        digest = blake2b(json.dumps(attrs.asdict(self)).encode() + _sources(), digest_size=8)
        return paths.cache_folder() / "lab" / digest.hexdigest()


SIZES = {
    "": Settings(),
    "tiny": Settings(prompts=60, hidden=32, layers=1, pretraining=1_200, tuning=120),
    "large": Settings(hidden=96, layers=3, heads=6),
}


def parse(rest: str) -> tuple[Settings, str]:
    """The settings and the name in `[tiny/|large/][seed=N/]NAME`. Raises `CptError`."""
    first, _, inner = rest.partition("/")
    size, name = (first, inner) if first in SIZES and inner else ("", rest)
    seed, _, name = name.partition("/") if name.startswith("seed=") else ("seed=0", "", name)
    number = seed.removeprefix("seed=")
    if name not in (*PROMPTS, *MODELS) or not number.isdigit():
        known = ", ".join((*PROMPTS, *MODELS))
        raise CptError(
            f"lab:{rest}: the lab has {known}; tiny/ or large/ and seed=N/ may come first."
        )
    return attrs.evolve(SIZES[size], seed=int(number)), name


@cache
def _sources() -> bytes:
    return b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in SOURCES)
