"""Pairs of scored answers, whoever scored them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Literal

import attrs
from attrs.validators import ge, optional

import cpt
from cpt_scored.rules import EVERY, RULES, Places, RuleName, ranked, tier_of


@attrs.frozen
class Scored:
    """An answer, and how good it was found."""

    answer: cpt.Response
    score: float


@attrs.frozen
class Selecting(cpt.Pairer):
    """A pairer that chooses among scored answers by a rule."""

    rule: RuleName = attrs.field(default="best_worst", kw_only=True)
    """Which answers meet: `best_worst`; `best_random`, the best over one of the others, drawn;
    `all_pairs`, every better one over every worse one; `largest_gap`, the two neighbours in the
    order of scores that are furthest apart; `max_vs_mean_minus_2sd`, the best over the one nearest
    to the mean less two standard deviations."""
    pairs_per_prompt: int | None = attrs.field(
        default=None, validator=optional(ge(1)), kw_only=True
    )
    """Most pairs of one prompt: those that the rule puts first. Without it 1, or all by
    `all_pairs`."""
    minimum_gap: float = attrs.field(default=0.0, validator=ge(0.0), kw_only=True)
    """Scores less than this apart give no pair; equal ones never do."""
    ties: Literal["first", "random", "none"] = attrs.field(default="first", kw_only=True)
    """Of answers with the same score, which is taken: the `first`, a `random` one, or `none`: a
    pair is made only of answers that share their score with no other."""
    across_authors: bool = attrs.field(default=False, kw_only=True)
    """Pair only answers of different authors."""
    seed: int = attrs.field(default=0, kw_only=True)
    """What is drawn is drawn from this and the prompt's id."""

    def select(
        self, prompt: cpt.Prompt, scored: Sequence[Scored], info: Mapping[str, Any], **more: Any
    ) -> list[cpt.Pair]:
        """The pairs of scored answers. Raises `NoPair`."""
        scores = [one.score for one in scored]
        if len(set(scores)) == 1:
            raise cpt.NoPair("tie", f"all {len(scores)} answers scored {scores[0]:g}")
        places = list(self._places(prompt, scored))[: self._most(scored)]
        if not places:
            raise self._none(scored)
        about = {"rule": self.rule, **info}
        return [self._pair(prompt, scored, pair, info=about, **more) for pair in places]

    def _most(self, scored: Sequence[Scored]) -> int:
        every = self.rule in EVERY
        return self.pairs_per_prompt or (len(scored) ** 2 if every else 1)

    def _places(self, prompt: cpt.Prompt, scored: Sequence[Scored]) -> Iterator[Places]:
        """The pairs that the rule proposes and the options allow, in the rule's order."""
        scores = [one.score for one in scored]
        random = Random(f"{self.seed} {prompt.id}")
        rank = ranked(scores, random if self.ties == "random" else None)
        for pair in RULES[self.rule](scores, rank, random):
            if not self._forbids([scored[place] for place in pair], scores):
                yield pair

    def _forbids(self, pair: Sequence[Scored], scores: Sequence[float]) -> str:
        """Why two answers do not meet; empty if they do."""
        better, worse = pair
        if better.score <= worse.score:
            return "tie"
        if better.score - worse.score < self.minimum_gap:
            return "small_gap"
        if self.across_authors and better.answer.author == worse.answer.author:
            return "same_author"
        shared = any(scores.count(one.score) > 1 for one in pair)
        return "tie" if self.ties == "none" and shared else ""

    def _none(self, scored: Sequence[Scored]) -> cpt.NoPair:
        """Why no two answers met: what forbids the best over the worst."""
        scores = [one.score for one in scored]
        rank = ranked(scores, None)
        best, worst = scored[rank[0]], scored[rank[-1]]
        why = self._forbids((best, worst), scores) or "no_pair"
        found = ", ".join(f"{scores[place]:g}" for place in rank)
        return cpt.NoPair(why, f"no two answers may meet by {self.rule}; the scores are {found}")

    def _pair(
        self, prompt: cpt.Prompt, scored: Sequence[Scored], places: Places, **more: Any
    ) -> cpt.Pair:
        chosen, rejected = (scored[place] for place in places)
        return cpt.Pair(
            prompt=prompt,
            chosen=chosen.answer,
            rejected=rejected.answer,
            pairer=self.name,
            tier=tier_of([one.score for one in scored], *places),
            margin=chosen.score - rejected.score,
            chosen_score=chosen.score,
            rejected_score=rejected.score,
            **more,
        )
