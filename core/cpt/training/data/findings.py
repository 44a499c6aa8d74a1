"""What is wrong with pairs, found before a model is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from cpt.errors import CptError

DROPPED: Mapping[str, str] = {
    "template": "the chat template refuses the conversation or loses the answer",
    "parts_early": "the two conversations part before their last answer",
    "empty": "a side has no text",
    "identical": "both sides are the same",
    "prompt_too_long": "the prompt has more tokens than --train.max-prompt-length, or leaves no "
    "room for an answer in --train.max-length",
    "answer_too_long": "a prompt and an answer to it have more tokens than --train.max-length, or "
    "than the model can take",
    "one_side_too_long": "one side alone is longer than --train.max-length: cutting it would teach "
    "where texts are cut",
    "outside_vocabulary": "the tokenizer makes ids that the model has no embedding for",
}
"""What a pair is dropped for."""

NOTED: Mapping[str, str] = {
    "boundary_merge": "prompt and answer would have shared a token; encoded apart, as asked",
    "eos_added": "the template does not end the answer; EOS appended",
    "rewritten": "the template does not continue its own prompt; the answer put behind it, with "
    "the thought that it has, or after an empty one if the prompt opens a thought",
    "double_bos": "the prompt begins with BOS twice",
    "cut_off": "a side stopped at a length limit, and is trained on as if it were whole",
    "truncated": "both answers cut to --train.max-length, so neither ends with EOS",
    "thought_on_one_side": "one side has a thought, the other has none",
    "tools_left_out": "the template leaves tools, or calls of them, out of the prompt",
    "marker_in_text": "the text of a side holds a token that ends a turn, or what begins one",
    "plain_template": "the tokenizer has no chat template; a line for each turn is used instead",
    "scored_below": "the chosen side has a lower score than the rejected one",
    "repeated": "the same pair was there before",
    "contradicted": "another pair prefers the same two answers the other way round",
}
"""What is noted of a pair that is kept."""


@attrs.frozen
class Finding:
    """One thing that is wrong with one pair."""

    pair: str
    """The pair's id."""
    problem: str
    """A key of `DROPPED` or `NOTED`."""
    detail: str = ""

    @property
    def dropped(self) -> bool:
        return self.problem in DROPPED


@attrs.frozen(kw_only=True)
class Diagnosis:
    """What was found in a set of pairs, as plain data."""

    pairs: int
    """Pairs that were looked at."""
    kept: int
    """Pairs that can be trained on."""
    findings: tuple[Finding, ...]
    prompt_tokens: float
    """Mean over the kept pairs, as are the other lengths."""
    chosen_tokens: float
    rejected_tokens: float
    chosen_longer: float
    """Share of the kept pairs whose chosen side is longer; far from 0.5, length is learned."""
    longest: int
    """Tokens of the longest kept prompt with its answer."""
    day: str = ""
    """What chat templates that ask for the date were given, as YYYY-MM-DD."""

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by problem, those that were dropped first."""
        counted = Counter(finding.problem for finding in self.findings)
        return {name: counted[name] for name in [*DROPPED, *NOTED] if counted[name]}

    @property
    def dropped(self) -> dict[str, int]:
        """Dropped pairs by reason."""
        return {name: count for name, count in self.counts.items() if name in DROPPED}

    @property
    def noted(self) -> dict[str, int]:
        """Kept pairs by what was noted of them."""
        return {name: count for name, count in self.counts.items() if name in NOTED}


def refuse_none_left(diagnosis: Diagnosis) -> None:
    """Raise `CptError` if no pair can be trained on."""
    if diagnosis.kept:
        return
    if not diagnosis.pairs:
        raise CptError("There are no pairs to train on.")
    counts = ", ".join(f"{name} {count}" for name, count in diagnosis.dropped.items())
    worst = max(diagnosis.dropped, key=lambda name: diagnosis.dropped[name])
    first = next(finding for finding in diagnosis.findings if finding.problem == worst)
    raise CptError(
        f"None of the {diagnosis.pairs} pairs can be trained on ({counts}). {worst}: "
        f"{DROPPED[worst]}; for example pair {first.pair}{first.detail and f' ({first.detail})'}."
    )
