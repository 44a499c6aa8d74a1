"""Pairs of answers that people compared, or that somebody else scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

import cpt
from cpt_scored.layouts import EXPECTED, found_in, is_texts
from cpt_scored.selecting import Scored, Selecting

if TYPE_CHECKING:
    from cpt.data import Row, RowsByPrompt


@attrs.frozen
class Human(Selecting):
    """Prefer what people preferred, as published or own data say it.

    A row is recognised by its columns: HH-RLHF and any other `chosen` and `rejected`;
    UltraFeedback, binarized or with its completions; Nectar; SHP; PKU-SafeRLHF; Chatbot Arena;
    HelpSteer 2 and 3; RewardBench 2; WebGPT; summarize_from_feedback; JudgeLM; `responses` with
    `scores` by author; one `response` with a `score`. Of more than two answers the rule chooses.
    The margin is the gap between scores, ranks (Nectar), votes or the strength of the preference
    (HelpSteer, WebGPT); ties give no pair.
    """

    name = "human"
    source: str = attrs.field(default="", metadata=cpt.PATH)
    """The file with the preferences, found by a prompt's id or text, and read into memory; without
    it, they stand in the row of the prompt itself, and any number of rows is read one by one."""
    criterion: str = ""
    """Which score counts where there are several: `safer` (PKU-SafeRLHF), `honesty` and the like
    (UltraFeedback), `correctness` and the like (HelpSteer2), or a column of yours; without it, the
    overall one."""

    def check(self) -> None:
        for row in self._rows() if self.source else ():
            if not _is_given(row) and not _is_found(row, self.criterion):
                raise row.bad(f"no preference: {_lacks(row)}")

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair | cpt.NoPair]:
        rows = self._rows().of(prompt) if self.source else [_own_row(prompt)]
        made: list[cpt.Pair | cpt.NoPair] = []
        alone: list[Scored] = []
        for row in rows:
            try:
                made += self._pairs(prompt, row, alone)
            except cpt.NoPair as none:
                made.append(none)
        if alone:
            made += self._among(prompt, alone)
        return _or_raise(made)

    def _pairs(self, prompt: cpt.Prompt, row: Row, alone: list[Scored]) -> Sequence[cpt.Pair]:
        """The pairs of one row; an answer that stands `alone` in it is kept for the others."""
        about = {"criterion": self.criterion} if self.criterion else {}
        if _is_given(row):
            return [self._given(prompt, row, about)]
        found = found_in(row, self.criterion)
        if found is None:
            raise cpt.NoPair("no_preference", f"{row.where}: {_lacks(row)}")
        scored = [_answering(prompt, one) for one in found.scored]
        if found.layout == "one_answer" and self.source:
            alone += scored
            return []
        return self._chosen(prompt, scored, {"layout": found.layout, **about}, found.voted)

    def _chosen(
        self, prompt: cpt.Prompt, scored: Sequence[Scored], about: Mapping[str, Any], voted: bool
    ) -> Sequence[cpt.Pair]:
        if len(scored) < 2:
            raise cpt.NoPair("one_answer", f"{len(scored)} scored answer to {prompt.id!r}")
        if voted:
            pairs = self.select(prompt, scored, about)
            return [attrs.evolve(pair, chosen_score=None, rejected_score=None) for pair in pairs]
        authors = [one.answer.author for one in scored]
        known = {"authors": authors, "scores": [one.score for one in scored]}
        return self.select(prompt, scored, {**about, **known})

    def _among(
        self, prompt: cpt.Prompt, alone: Sequence[Scored]
    ) -> Sequence[cpt.Pair | cpt.NoPair]:
        """The pairs of answers that stood in rows of their own."""
        try:
            return self._chosen(prompt, alone, {"layout": "one_answer"}, voted=False)
        except cpt.NoPair as none:
            return [none]

    def _given(self, prompt: cpt.Prompt, row: Row, about: Mapping[str, Any]) -> cpt.Pair:
        """The pair that the row holds already. Raises `NoPair` for a tie."""
        from cpt.data import pair_of

        pair = pair_of(row.values, row.where)
        if pair.margin == 0 and pair.chosen_score == pair.rejected_score:
            raise cpt.NoPair("tie", f"{row.where}: both answers have the same score")
        if pair.margin is not None and pair.margin < self.minimum_gap:
            raise cpt.NoPair("small_gap", f"{row.where}: the margin is {pair.margin:g}")
        chosen, rejected = (
            attrs.evolve(side, prompt_id=prompt.id) for side in (pair.chosen, pair.rejected)
        )
        made_by = {"pairer": pair.pairer} if pair.pairer else {}
        return cpt.Pair(
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            tier=pair.tier,
            margin=pair.margin,
            chosen_score=pair.chosen_score,
            rejected_score=pair.rejected_score,
            weight=pair.weight,
            rationale=pair.rationale,
            info={"layout": "pair", **made_by, **about, **(pair.info if self.source else {})},
        )

    def _rows(self) -> RowsByPrompt:
        from cpt.data import rows_by_prompt

        return rows_by_prompt(self.source)


def _own_row(prompt: cpt.Prompt) -> Row:
    """The row of a prompt itself, with its prompt where the answers do not begin with it."""
    from cpt.data import Row

    values = dict(prompt.info)
    chosen = values.get("chosen")
    if not (isinstance(chosen, str) and chosen.lstrip().startswith("Human:")):
        values["prompt"] = [turn.plain() for turn in prompt.messages]
    return Row(values, f"prompt {prompt.id!r}")


def _answering(prompt: cpt.Prompt, one: Scored) -> Scored:
    return attrs.evolve(one, answer=attrs.evolve(one.answer, prompt_id=prompt.id))


def _or_raise(made: Sequence[cpt.Pair | cpt.NoPair]) -> Sequence[cpt.Pair | cpt.NoPair]:
    """The same, if there is a pair in it; else the first reason is raised."""
    reasons = [none for none in made if isinstance(none, cpt.NoPair)]
    if len(reasons) == len(made):
        raise reasons[0]
    return made


def _is_given(row: Row) -> bool:
    """Whether it holds one answer for each side."""
    sides = row["chosen"], row["rejected"]
    return None not in sides and not all(map(is_texts, sides))


def _is_found(row: Row, criterion: str) -> bool:
    try:
        return found_in(row, criterion) is not None
    except cpt.NoPair:
        return True


def _lacks(row: Row) -> str:
    """What is missing in a row without a preference."""
    return f"expected {EXPECTED}; found {', '.join(row.values) or 'none'}"
