"""Judgements that are on disk already, as a judge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from statistics import fmean

import attrs

import cpt
from cpt import paths

Key = tuple[str, str, str]


@attrs.frozen
class RecordedJudge(cpt.Judge):
    """Judgements from a file in AlpacaEval's form: nobody is asked.

    They are matched by both answers' texts, or else by the prompt's id and both authors. Score:
    the mean probability to win over the other answers. `cpt judge` writes such files.
    """

    name = "recorded"
    file: str = attrs.field(metadata=cpt.PATH)
    """Rows with `preference`, and `output_1` and `output_2` or `id`, `model_1` and `model_2`."""

    def check(self) -> None:
        self._wins()

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        known = self._wins()
        wins: list[list[float]] = [[] for _ in responses]
        for one, other in combinations(range(len(responses)), 2):
            win = _find(known, prompt, responses[one], responses[other])
            if win is not None:
                wins[one].append(win)
                wins[other].append(1 - win)
        unknown = cpt.Missing("not_recorded", f"{self.file} has no judgement of these answers")
        return cpt.Verdict(
            scores=tuple(fmean(won) if won else None for won in wins),
            missing=tuple(None if won else unknown for won in wins),
        )

    def _wins(self) -> dict[Key, float]:
        path = Path(paths.resolve(self.file))
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        return _read(str(path), stamp)


def _find(
    known: dict[Key, float], prompt: cpt.Prompt, one: cpt.Response, other: cpt.Response
) -> float | None:
    """The probability that the one wins; None if that is not recorded."""
    by_text = [("", first.text, second.text) for first, second in ((one, other), (other, one))]
    by_author = [
        (prompt.id, first.author, second.author) for first, second in ((one, other), (other, one))
    ]
    for there, back in (by_text, by_author):
        if there in known:
            return known[there]
        if back in known:
            return 1 - known[back]
    return None


@lru_cache(maxsize=4)
def _read(path: str, _stamp: int) -> dict[Key, float]:
    """The probability that the second answer of each row wins, as (second, first)."""
    from cpt.data import annotation_of, read_rows

    found: dict[Key, float] = {}
    for row in read_rows(path):
        one = annotation_of(row)
        if one.win is None:
            continue
        if one.outputs:
            found["", one.outputs[1], one.outputs[0]] = one.win
        found[one.id or "", one.generators[1], one.generators[0]] = one.win
    return found
