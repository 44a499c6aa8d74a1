"""Whether a trained model may ship: conditions on its scores."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path

import attrs

from cpt.config import AFTER, BEFORE
from cpt.errors import BadData, CptError
from cpt.plugins.offers import nearest
from cpt.run.results.compare import comparable, scores_of
from cpt.run.results.read import RunReader, open_run
from cpt.run.results.scores import Meanings, measured, read_meanings
from cpt.statistics import difference
from cpt.types import Score

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
CONDITION = re.compile(r"\s*(?P<name>\S.*?)\s*(?P<op>>=|<=|>|<)\s*(?P<bound>[-+.\deE]+)\s*")
ENDS = ("low", "high")


@attrs.frozen(kw_only=True)
class Check:
    """One condition, and whether the model meets it."""

    condition: str
    passed: bool
    reason: str
    """What was found, in one line."""
    value: float | None = None
    """What was compared; None for an end of an interval that there is not."""


def checks(
    run: Path,
    *,
    require: Sequence[str] = (),
    no_worse: Sequence[str] = (),
    against: Path | None = None,
    margin: float | None = None,
) -> list[Check]:
    """Every condition on the trained model of a run.

    `require` are conditions such as `win_rate/lc >= 50`, on a score or on an end of its interval
    (`win_rate/raw.low > 50`). `no_worse` are scores, or evaluators for those scores of theirs that
    mean quality, or else that are better one way: higher, unless the evaluator says lower. The
    model is compared prompt by prompt with the one before training, or with the trained model of
    the run `against`. Without `margin` it fails where it is worse beyond chance (the whole 95%
    interval is on the worse side of zero, Bonferroni over these scores); with it, where the
    interval does not exclude a loss of more than `margin`. Raises `CptError` for a score that is
    unknown, and where nothing was measured.
    """
    reader = open_run(run)
    scores = scores_of(reader)
    if not (require or no_worse):
        raise CptError("cpt gate: no condition; give --require or --no-worse.")
    if margin is not None and not isfinite(margin):
        raise CptError(f"--margin {margin}: must be a finite number.")
    required = [_required(condition, scores[AFTER], run) for condition in require]
    return required + list(_not_worse(reader, no_worse, against, margin))


def _required(condition: str, scores: Mapping[str, Score], run: Path) -> Check:
    found = CONDITION.fullmatch(condition)
    try:
        name, op, bound = found["name"], found["op"], float(found["bound"])  # type: ignore[index]
    except (TypeError, ValueError):
        raise CptError(
            f"--require {condition!r:.80}: expected SCORE >= NUMBER (or <=, >, <)."
        ) from None
    score, end = _score(name, scores, run)
    value = {"low": score.low, "high": score.high}.get(end, score.value)
    finite = value if abs(value) < float("inf") else None
    passed = finite is not None and OPERATORS[op](finite, bound)
    said = "there is no interval" if finite is None else f"it is {finite:.4g}"
    missing = f" ({measured(score)})" if score.missing else ""
    return Check(condition=condition, passed=passed, reason=f"{said}{missing}", value=finite)


def _score(name: str, scores: Mapping[str, Score], run: Path) -> tuple[Score, str]:
    """The score of that name; or of the name before `.low` or `.high`, and which end."""
    if name in scores:
        return scores[name], ""
    stem, _, end = name.rpartition(".")
    if end in ENDS and stem in scores:
        return scores[stem], end
    raise _unknown(name, scores, run)


def _unknown(name: str, scores: Mapping[str, Score], run: Path) -> BadData:
    there = ", ".join(scores)
    if not there:
        return BadData(f"{run}: the model before training has no scores to compare with.")
    return BadData(
        f"{run}: no score is called {name!r:.80}.{nearest(name, scores)} It has {there}."
    )


def _not_worse(
    run: RunReader, names: Sequence[str], against: Path | None, margin: float | None
) -> Iterator[Check]:
    baseline = open_run(against) if against else run
    ours = scores_of(run)[AFTER]
    theirs = scores_of(baseline).get(AFTER if against else BEFORE, {})
    who = str(against) if against else BEFORE
    meanings = read_meanings(run.path / "scores.json")
    named = (_named(name, ours, meanings, run.path) for name in names)
    wanted = list(dict.fromkeys(one for found in named for one in found))
    for name in wanted:
        if name not in theirs:
            raise _unknown(name, theirs, baseline.path)
        pair = (comparable(run, ours[name], baseline), comparable(baseline, theirs[name], run))
        gap = difference(*pair, comparisons=len(wanted))
        if gap is None:
            raise BadData(
                f"{name}: shares nothing measured with {who}: use --require for such a score."
            )
        yield _worse(name, gap, who, margin, lower_is_better=name in meanings.lower_is_better)


def _named(name: str, scores: Mapping[str, Score], meanings: Meanings, run: Path) -> list[str]:
    """A score, or those scores of an evaluator that have values by prompt.

    Of these the scores that it calls quality, or else better low, if it says so of any.
    """
    if name in scores:
        return [name]
    found = [one for one, score in scores.items() if one.startswith(f"{name}/") and score.each]
    if not found:
        raise _unknown(name, scores, run)
    said = (meanings.quality, meanings.lower_is_better)
    known = ([one for one in found if one in names] for names in said)
    return next(filter(None, known), found)


def _worse(
    name: str, gap: Score, who: str, margin: float | None, *, lower_is_better: bool
) -> Check:
    best, worst = (-gap.low, -gap.high) if lower_is_better else (gap.high, gap.low)
    passed = best >= 0 if margin is None else worst >= -margin
    within = "" if margin is None else f" by more than {margin:g}"
    if abs(gap.low) == float("inf"):
        ends, passed = "no interval", False
    else:
        ends = f"{gap.low:+.4g} to {gap.high:+.4g}"
    better = ", and lower is better" if lower_is_better else ""
    return Check(
        condition=f"{name} no worse than {who}{within}",
        passed=passed,
        reason=f"it changed by {gap.value:+.4g} ({ends}) over {_count(gap)}{better}",
        value=gap.value,
    )


def _count(gap: Score) -> str:
    """`12 prompts`, or `9 of 12 prompts` where some have no difference."""
    return f"{gap.n} of {gap.of} {gap.unit}" if gap.missing else f"{gap.n} {gap.unit}"
