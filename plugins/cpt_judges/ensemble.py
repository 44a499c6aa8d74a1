"""Several judges as one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Literal

import attrs
from attrs.validators import min_len

import cpt


@attrs.frozen
class Ensemble(cpt.Judge):
    """Several judges as one, by the majority of their preferences or the mean of their scores.

    By majority, the score of an answer is its mean share of votes against each other answer (a
    judge that scores both alike gives each half a vote), so that scales need not agree. An answer
    that half of the judges or more could not score gets none; for the mean, all must have scored
    it. What each judge said and how far they agree is kept with the pair.
    """

    name = "ensemble"
    judges: tuple[cpt.Judge, ...] = attrs.field(validator=min_len(2))
    """Who judges; repeat the flag for each."""
    rule: Literal["majority", "mean"] = "majority"
    """Count preferences, or take the mean of scores on one scale."""

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        from asyncio import gather

        verdicts = await gather(*(judge.judge(prompt, responses, ask) for judge in self.judges))
        places = range(len(responses))
        known = [_known(verdicts, place, self._needed) for place in places]
        scores = _majority(verdicts, known) if self.rule == "majority" else _means(verdicts, known)
        said = [judge.name for judge in self.judges]
        return cpt.Verdict(
            scores=tuple(scores),
            rationale="\n\n".join(filter(None, (verdict.rationale for verdict in verdicts))),
            raw=tuple(_words(verdicts, place) for place in places),
            missing=tuple(
                _why(verdicts, place) if scores[place] is None else None for place in places
            ),
            comparisons=tuple(one for verdict in verdicts for one in verdict.comparisons),
            info={
                "judges": [
                    {"judge": name, "scores": list(verdict.scores)}
                    for name, verdict in zip(said, verdicts, strict=True)
                ],
                "judges_agree": agreement(verdicts),
            },
        )

    @property
    def _needed(self) -> int:
        """Judges that must have scored an answer."""
        count = len(self.judges)
        return count if self.rule == "mean" else count // 2 + 1


def agreement(verdicts: Sequence[cpt.Verdict]) -> float | None:
    """The share of pairs of judges and of answers with one preference; None if there are none."""
    answers = range(len(verdicts[0].scores))
    same = [
        one == other
        for two in combinations(answers, 2)
        for one, other in combinations([_vote(verdict, *two) for verdict in verdicts], 2)
        if one is not None and other is not None
    ]
    return fmean(same) if same else None


def _vote(verdict: cpt.Verdict, one: int, other: int) -> float | None:
    """1 for the one, 0 for the other, 0.5 for neither; None if a score is missing."""
    first, second = verdict.scores[one], verdict.scores[other]
    if first is None or second is None:
        return None
    return (1 + (first > second) - (first < second)) / 2


def _majority(verdicts: Sequence[cpt.Verdict], known: Sequence[bool]) -> list[float | None]:
    """The mean share of votes of each answer against every other."""
    if len(known) == 1:
        return _means(verdicts, known)
    shares: list[list[float]] = [[] for _ in known]
    for one, other in combinations(range(len(known)), 2):
        votes = [vote for verdict in verdicts if (vote := _vote(verdict, one, other)) is not None]
        if votes and known[one] and known[other]:
            shares[one].append(fmean(votes))
            shares[other].append(1 - fmean(votes))
    return [fmean(share) if share else None for share in shares]


def _means(verdicts: Sequence[cpt.Verdict], known: Sequence[bool]) -> list[float | None]:
    found = [[verdict.scores[place] for verdict in verdicts] for place in range(len(known))]
    return [
        fmean(score for score in scores if score is not None) if enough else None
        for scores, enough in zip(found, known, strict=True)
    ]


def _known(verdicts: Sequence[cpt.Verdict], place: int, needed: int) -> bool:
    return sum(verdict.scores[place] is not None for verdict in verdicts) >= needed


def _why(verdicts: Sequence[cpt.Verdict], place: int) -> cpt.Missing:
    """Why an answer has no score: what the first judge without one says."""
    found = (verdict.score_of(place) for verdict in verdicts)
    unscored = cpt.Missing("no_score", "no other answer has enough scores to compare it with")
    return next((why for why in found if isinstance(why, cpt.Missing)), unscored)


def _words(verdicts: Sequence[cpt.Verdict], place: int) -> str:
    """What the judges said of one answer."""
    said = (verdict.raw[place] for verdict in verdicts if place < len(verdict.raw))
    return "\n\n".join(filter(None, said))
