"""Several runs side by side: scores, paired differences, and what differs in their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import attrs

from cpt.config import AFTER, flatten
from cpt.data import NUMBERED
from cpt.errors import BadData, CptError
from cpt.run.results.read import RunReader, open_run
from cpt.run.results.scores import Scores, numbers
from cpt.statistics import difference
from cpt.types import Score

CORRECTION = "bonferroni"
"""How intervals are widened, as several differences are looked at together."""


@attrs.frozen(kw_only=True)
class RunComparison:
    """The trained models of several runs; differences are to the first run."""

    runs: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Score]]
    """By the name of the score, then by run."""
    differences: Mapping[str, Mapping[str, Score]]
    """A run minus the first one over the prompts that both have, by score and run; only where both
    have values by prompt. All intervals hold together with a probability of 95%."""
    options: Mapping[str, tuple[Any, ...]]
    """The options that are not the same in all runs, by address: the value of each run."""

    @property
    def by_component(self) -> Mapping[str, Sequence[tuple[Any, Mapping[str, Any]]]]:
        """`options`, each with its value in every run and what belongs to that value alone.

        Where runs have other components, the options that only some of these have are beside the
        component's name, not at addresses of their own.
        """
        owners = {address: _owner(address, self.options) for address in self.options}
        return {
            address: [
                (value, _own(address, owners, self.options, run))
                for run, value in enumerate(values)
            ]
            for address, values in self.options.items()
            if owners[address] is None
        }

    @property
    def comparisons(self) -> int:
        """How many differences the intervals are corrected for."""
        return sum(map(len, self.differences.values()))

    def plain(self) -> dict[str, Any]:
        """All of it as plain data, without the values of single prompts."""
        return {
            "runs": list(self.runs),
            "scores": _plain(self.scores),
            "differences": _plain(self.differences),
            "comparisons": self.comparisons,
            "correction": CORRECTION,
            "options": {address: list(values) for address, values in self.options.items()},
        }


def compare(paths: Sequence[Path]) -> RunComparison:
    """Compare runs by the scores of their trained models.

    Raises `CptError` for fewer than two runs or one that is there twice, and if a folder holds no
    run or no scores.
    """
    runs = [str(path) for path in paths]
    if len(runs) < 2 or len({path.resolve() for path in paths}) < len(runs):
        raise CptError("a comparison needs two runs or more, each of them once.")
    readers = [open_run(path) for path in paths]
    scores = {run: scores_of(reader)[AFTER] for run, reader in zip(runs, readers, strict=True)}
    names = dict.fromkeys(chain.from_iterable(scores.values()))
    by_name = {
        name: {run: found[name] for run, found in scores.items() if name in found} for name in names
    }
    return RunComparison(
        runs=tuple(runs),
        scores=by_name,
        differences=_differences(dict(zip(runs, readers, strict=True)), by_name),
        options=_changed([made_with(reader) for reader in readers]),
    )


def scores_of(run: RunReader) -> Scores:
    """The scores of a run. Raises `BadData` if its trained model was not measured."""
    if run.stages.get("model", {}).get("state") == "begun":
        raise BadData(f"{run.path}: its training is not done; `cpt train` goes on with it.")
    scores = run.scores
    if not scores.get(AFTER):
        raise BadData(f"{run.path}: its trained model has no scores; `cpt eval` makes them.")
    return scores


def comparable(one: RunReader, score: Score, other: RunReader) -> Score:
    """The score, without prompts that only share a number with those of the other run.

    A prompt without an id is called by its row; that is the same prompt only in the same data.
    """
    if _prompts_of(one) == _prompts_of(other):
        return score
    each = {key: value for key, value in score.each.items() if not key.startswith(NUMBERED)}
    return attrs.evolve(score, each=each) if len(each) < len(score.each) else score


def _prompts_of(run: RunReader) -> Any:
    """What identifies the prompts of an evaluation: their digest, or else their source."""
    stage = run.stages.get("scores", {})
    named = stage.get("options", {}).get("eval_prompts")
    return stage.get("content", {}).get("eval_prompts", named)


def _differences(
    readers: Mapping[str, RunReader], scores: Mapping[str, Mapping[str, Score]]
) -> dict[str, dict[str, Score]]:
    first, *others = readers
    pairs = {
        (name, run): (
            comparable(readers[run], found[run], readers[first]),
            comparable(readers[first], found[first], readers[run]),
        )
        for name, found in scores.items()
        for run in others
        if run in found and first in found
    }
    shared = {key: pair for key, pair in pairs.items() if difference(*pair)}
    found: dict[str, dict[str, Score]] = {}
    for (name, run), pair in shared.items():
        gap = difference(*pair, comparisons=len(shared))
        assert gap is not None
        found.setdefault(name, {})[run] = gap
    return found


def made_with(run: RunReader) -> dict[str, Any]:
    """The options that the stages of a run were made with, by address."""
    stages = run.stages.values()
    return dict(flatten({name: value for one in stages for name, value in one["options"].items()}))


def _changed(options: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    addresses = dict.fromkeys(chain.from_iterable(options))
    values = {address: tuple(one.get(address) for one in options) for address in addresses}
    return {address: found for address, found in values.items() if _differ(found)}


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _owner(address: str, options: Mapping[str, Sequence[Any]]) -> str | None:
    """The component that an option belongs to, if runs have another there and some lack it."""
    if all(value is not None for value in options[address]):
        return None
    parts = address.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts)))
    return next((one for one in above if one in options), None)


def _own(
    owner: str,
    owners: Mapping[str, str | None],
    options: Mapping[str, Sequence[Any]],
    run: int,
) -> dict[str, Any]:
    """The options of one run's component that components of other runs do not have, by name."""
    mine = {address: options[address][run] for address in owners if owners[address] == owner}
    return {
        address.removeprefix(f"{owner}."): value
        for address, value in mine.items()
        if value is not None
    }


def _plain(scores: Mapping[str, Mapping[str, Score]]) -> dict[str, Any]:
    return {
        name: {run: numbers(score) for run, score in by_run.items()}
        for name, by_run in scores.items()
    }
