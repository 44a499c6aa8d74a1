"""Answers that refuse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

import attrs
from attrs.validators import ge

import cpt
from cpt_filters.phrases import PHRASES

CURLED = "\N{RIGHT SINGLE QUOTATION MARK}"
"""The apostrophe that typesetters and some models write."""


@attrs.frozen
class Refusals(cpt.Filter):
    """Leaves out pairs with an answer that refuses to answer.

    An answer is a refusal if it begins with a phrase of one: in English, German, French, Spanish,
    Italian, Portuguese, Dutch, Russian, Chinese or Japanese. These are rules: they miss some, and
    take an honest limit ("I can't give you today's weather") for one.
    """

    name = "refusals"
    sides: Literal["chosen", "rejected", "either", "both"] = "chosen"
    """Which answers must refuse for a pair to go."""
    within: int = attrs.field(default=200, validator=ge(1))
    """Characters at the beginning of an answer that are looked at."""

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        rule = re.compile("|".join(chain(*PHRASES.values())), re.IGNORECASE)
        for pair in pairs:
            chosen, rejected = (
                self._phrase(answer.text, rule) for answer in (pair.chosen, pair.rejected)
            )
            yield self._drop(chosen, rejected) or pair

    def _phrase(self, text: str, rule: re.Pattern[str]) -> str:
        """The phrase that refuses, if there is one."""
        begin = " ".join(text[: self.within].replace(CURLED, "'").split())
        found = rule.search(begin)
        return found.group() if found else ""

    def _drop(self, chosen: str, rejected: str) -> cpt.Drop | None:
        if self.sides == "both":
            return cpt.Drop("both", f"{chosen!r}") if chosen and rejected else None
        if chosen and self.sides != "rejected":
            return cpt.Drop("chosen", f"{chosen!r}")
        if rejected and self.sides != "chosen":
            return cpt.Drop("rejected", f"{rejected!r}")
        return None
