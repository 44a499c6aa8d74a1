"""The card of a set of pairs, in the form that the hub reads: `README.md` beside the pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import attrs
import yaml

from cpt.contrast import ContrastOfSet
from cpt.files import write_text
from cpt.markdown import table
from cpt.run.record.inputs import identity
from cpt.run.stage import Run
from cpt.run.stages.outcomes import Counts
from cpt.types import Pair

NAME = "README.md"
MOST_NAMED = 10
"""Rows of a table of counts; the others are summed up."""
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
"""The hub's words for how many rows there are, each with the number that it stays below."""
MEASURES = ("jaccard", "levenshtein", "levenshtein_normalised", "length_ratio")
LENGTH = ("longer_is_chosen", "length_auc", "length_effect", "length_surplus")


@attrs.define(eq=False)
class Card:
    """What a card says of pairs that come one by one."""

    pairers: Counter[str] = attrs.field(factory=Counter)
    authors: Counter[str] = attrs.field(factory=Counter)
    judges: Counter[str] = attrs.field(factory=Counter)
    tiers: Counter[str] = attrs.field(factory=Counter)
    scored: int = 0
    contrast: ContrastOfSet = attrs.field(factory=ContrastOfSet)

    def add(self, pair: Pair) -> None:
        self.pairers[pair.pairer or "unknown"] += 1
        authors = (pair.chosen.author or "unknown", pair.rejected.author or "unknown")
        self.authors[" over ".join(authors)] += 1
        if judge := pair.info.get("judge"):
            self.judges[judge if isinstance(judge, str) else "named in info"] += 1
        self.tiers[str(pair.tier or "unknown")] += 1
        self.scored += pair.chosen_score is not None
        if pair.label is None:
            self.contrast.add(pair.chosen.text, pair.rejected.text, pair.pairer)

    def text(self, made_by: Mapping[str, Any], left: Counts) -> str:
        """The card, given the options of what made the pairs, and what became of all prompts."""
        measured = self.contrast.plain()
        outcomes = {**left.outcomes, **{f"dropped: {why}": n for why, n in left.dropped.items()}}
        return CARD.format(
            head=yaml.safe_dump(_head(left.pairs), sort_keys=False).strip(),
            pairs=left.pairs,
            scored=self.scored,
            made_by=table(made_by),
            pairers=_counts(self.pairers),
            authors=_counts(self.authors),
            judges=_counts(self.judges) if self.judges else "None is named.",
            tiers=_counts(self.tiers),
            contrast=table({name: measured[name] for name in (*MEASURES, *LENGTH)}),
            outcomes=_counts(outcomes),
            version=version("contrastive-post-training"),
        )


def write_card(run: Run, card: Card, left: Counts) -> None:
    """Write the card beside the pairs: the same bytes for the same pairs and options."""
    options = {
        name: getattr(run.config, name) for name in ("pairs", "prompts", "pairer", "filters")
    }
    made_by = {
        name: value
        for given, option in options.items()
        for name, value in _flat(given, identity(option))
    }
    write_text(run.path / NAME, card.text(made_by, left))


def _head(pairs: int) -> dict[str, Any]:
    size = next((name for most, name in SIZES if pairs < most), "n>1M")
    return {
        "task_categories": ["text-generation"],
        "tags": ["preference", "contrastive-post-training"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": "pairs.parquet"}],
    }


def _flat(address: str, value: Any) -> list[tuple[str, Any]]:
    """Every value of an option that says something, with its address."""
    if isinstance(value, Mapping):
        items = [(f"{address}.{name}", inner) for name, inner in value.items()]
    elif isinstance(value, list | tuple):
        items = [(f"{address}.{place}", inner) for place, inner in enumerate(value)]
    else:
        return [] if value is None or value == "" else [(address, value)]
    return [found for name, inner in items for found in _flat(name, inner)]


def _counts(counts: Mapping[str, int]) -> str:
    named = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in named[MOST_NAMED:])
    more = {f"{len(named) - MOST_NAMED} others": rest} if rest else {}
    return table(dict(named[:MOST_NAMED]) | more)


CARD = """---
{head}
---

# Pairs for contrastive post-training

{pairs} pairs: to each `prompt` a `chosen` and a `rejected` answer, as messages. {scored} of them
have scores of both answers.

## How they were made

{made_by}

## By pairer

{pairers}

## By authors, chosen over rejected

{authors}

## By judge

{judges}

## By tier

{tiers}

## Contrast and length

{contrast}

Jaccard is of words, Levenshtein of characters: both say how far apart the two answers are. The
last four rows say what length alone tells of the label.

## Outcomes of the prompts

{outcomes}

Made with contrastive-post-training {version}.
"""
