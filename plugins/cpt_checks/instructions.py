"""Prompts made of instructions that a program can check."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

import cpt

REQUESTS = (
    "Tell me about {}.",
    "Explain to a friend why people care about {}.",
    "Write a short note about {}.",
    "Describe {} to someone who has never heard of that.",
    "What is worth knowing about {}?",
    "Give me some advice about {}.",
)
TOPICS = (
    *("bread", "bicycles", "rainbows", "chess", "libraries", "volcanoes", "tea", "bees", "trains"),
    *("glaciers", "mushrooms", "soap", "maps", "sleep", "paper", "lighthouses", "gardens", "owls"),
    *("dolphins", "mirrors", "bridges", "tides", "clocks", "salt", "kites", "gravity", "rivers"),
    *("honey", "batteries", "snow", "spices", "markets", "windmills", "cheese", "deserts", "rice"),
)
ELSEWHERE = (
    *("combination:*", "detectable_format:constrained_response"),
    *("length_constraints:number_sentences", "change_case:capital_word_frequency"),
)
"""Instructions that need a prompt of their own, or data of NLTK: only made where they are named."""
MOST = 3
"""Instructions of one prompt."""
TRIES = 20
"""Prompts that are drawn for each that is wanted: the same one may come again."""


def generated(count: int, kinds: Sequence[str], seed: int) -> list[cpt.Prompt]:
    """So many prompts with IFEval's columns, the same for the same seed and version of the checks.

    Raises `CptError` for a kind that there is not, or of which not so many prompts can be made.
    """
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_CONFLICTS, INSTRUCTION_DICT

    known, made = _known(kinds, INSTRUCTION_DICT), dict[str, cpt.Prompt]()
    with _seeded(seed):
        for _ in range(TRIES * count):
            prompt = _prompt(known, INSTRUCTION_DICT, INSTRUCTION_CONFLICTS)
            made.setdefault(prompt.id, prompt)
            if len(made) == count:
                return list(made.values())
    raise cpt.CptError(
        f"verifiable: of {', '.join(known)} no {count} different prompts can be made, only "
        f"{len(made)}; name more kinds, or generate fewer."
    )


def _known(kinds: Sequence[str], checks: Mapping[str, Any]) -> list[str]:
    """The kinds that are named, or all that need nothing else."""
    for kind in kinds:
        if not any(fnmatchcase(name, kind) for name in checks):
            there = ", ".join(checks)
            raise cpt.CptError(f"verifiable: no instruction is called {kind!r}; there is {there}.")
    named = [name for name in checks if any(fnmatchcase(name, kind) for kind in kinds)]
    return named or [
        name for name in checks if not any(fnmatchcase(name, kind) for kind in ELSEWHERE)
    ]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The checks draw from Python's own random numbers; they continue as before after the block."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _prompt(
    kinds: Sequence[str], checks: Mapping[str, Any], conflicts: Mapping[str, Any]
) -> cpt.Prompt:
    request = random.choice(REQUESTS).format(random.choice(TOPICS))
    drawn: dict[str, Any] = {}
    for kind in random.sample(kinds, min(len(kinds), random.randint(1, MOST))):
        if not any(kind in conflicts[one] or one in conflicts[kind] for one in drawn):
            drawn[kind] = checks[kind](kind)
    try:
        said = [check.build_description() for check in drawn.values()]
    except (TypeError, ValueError) as error:
        raise cpt.CptError(f"verifiable: no prompt can be made of {[*drawn]} ({error}).") from None
    text = " ".join([request, *said])
    return cpt.Prompt(
        id=f"generated-{blake2b(text.encode(), digest_size=8).hexdigest()}",
        messages=(cpt.Message("user", text),),
        info={
            "instruction_id_list": [*drawn],
            "kwargs": [check.get_instruction_args() or {} for check in drawn.values()],
        },
    )
