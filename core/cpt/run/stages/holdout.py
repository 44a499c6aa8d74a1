"""Pairs that are held out from training, to measure on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from cpt.config import Config
from cpt.data import read_pairs, write_pairs
from cpt.data.layouts.conversations import digest_of
from cpt.errors import CptError
from cpt.run.stage import Run, is_main
from cpt.types import Pair, Prompt
from cpt.types.stored import taken

HELD_OUT = "held_out.parquet"
SHARE = 0.05
"""Share of the prompts that is held out if something measures on pairs and none are given."""


def with_holdout(run: Run) -> Run:
    """The run itself, or with a share held out if it is to be measured on its own pairs.

    The share is then an option of the folder. A model that is there keeps what it was made with.
    """
    config = run.config
    settled = config.holdout is not None or config.eval_pairs
    if settled or not _measures_pairs(config) or (run.folder.stage("model") and not run.redo):
        return run
    return attrs.evolve(run, config=attrs.evolve(config, holdout=SHARE))


def _measures_pairs(config: Config) -> bool:
    return bool(config.train.eval_every) or any(
        "pairs" in evaluator.needs for evaluator in (*config.evaluators, *config.train.evaluators)
    )


def split(pairs: Sequence[Pair], share: float) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Pairs to train on, and pairs to hold out: those of about a `share` of the prompts.

    What a prompt says decides, so the same prompts are held out of any set of pairs; if that
    gives none, the prompt with the lowest number. Raises `CptError` if all have one prompt.
    """
    import numpy as np

    if not share:
        return pairs, []
    numbers = np.array([number_of(pair.prompt) for pair in pairs])
    lowest, highest = float(numbers.min()), float(numbers.max())
    if lowest == highest:
        raise CptError(
            "All pairs have the same prompt, so none can be held out; add pairs with other "
            "prompts, give --eval-pairs, or set --holdout 0."
        )
    limit = min(max(share, lowest), highest)
    held = (numbers <= limit) & (numbers < highest)
    return taken(pairs, np.flatnonzero(~held)), taken(pairs, np.flatnonzero(held))


def number_of(prompt: Prompt) -> float:
    """A number from 0 to 1 that a prompt's messages and tools decide."""
    digest = digest_of(prompt.messages, prompt.tools)
    return int(digest[:13], 16) / 16**13


def hold_out(run: Run) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """The run's pairs to train on and those held out, which are written to `held_out.parquet`."""
    pairs, held_out = split(_pairs(run), run.config.holdout or 0.0)
    if held_out and is_main():
        write_pairs(run.path / HELD_OUT, held_out)
    return pairs, held_out


def _pairs(run: Run) -> Sequence[Pair]:
    from cpt.data.stored import StoredPairs

    return StoredPairs.of(run.path / "pairs.parquet")


def pairs_to_measure(run: Run) -> list[Pair]:
    """The pairs of `--eval-pairs`, or those that were held out. Raises `CptError` without them."""
    if run.config.eval_pairs:
        return _given(run.config.eval_pairs)
    if (run.path / HELD_OUT).exists():
        return read_pairs(run.path / HELD_OUT)
    raise CptError(
        f"{run.path}: no pairs to measure on: --eval-pairs FILE gives some; a training with "
        f"--holdout {SHARE} holds out pairs of its own."
    )


def _given(source: str) -> list[Pair]:
    pairs = read_pairs(source)
    if not pairs:
        raise CptError(f"--eval-pairs {source}: no usable pair; `cpt doctor {source}` says why.")
    return pairs


def trained_on(run: Run, pairs: Iterable[Pair]) -> int:
    """How many of these pairs have a prompt that the run's model was trained on."""
    path: Path = run.path / "pairs.parquet"
    if not path.exists():
        return 0
    seen = {number_of(pair.prompt) for pair in split(_pairs(run), run.config.holdout or 0)[0]}
    return sum(number_of(pair.prompt) in seen for pair in pairs)
