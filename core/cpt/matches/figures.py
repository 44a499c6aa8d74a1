"""What annotations say of a model, under the names of AlpacaEval's leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from cpt.data import Annotation, Difficulties
from cpt.errors import BadData
from cpt.statistics import (
    LengthControl,
    Regularizer,
    StyleControl,
    bootstrap,
    from_weights,
    length_controlled,
    shares_of_length,
    style_controlled,
    style_of,
    win_rate,
)

Interval = tuple[float, float]
FEWEST = 10
"""Comparisons below which nothing is fitted."""


@attrs.frozen(kw_only=True)
class Control:
    """What AlpacaEval's length-controlled win rate needs beside the annotations."""

    difficulty: Difficulties | None = None
    regularizer: Regularizer | None = None
    weights: tuple[float, float, float] | None = None
    """Published ones, of length, difficulty and model: then nothing is fitted."""


@attrs.frozen(kw_only=True)
class Figures:
    """The figures of one model; None where there is nothing to tell it from."""

    model: str
    baseline: str
    win_rate: float
    standard_error: float | None
    discrete_win_rate: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    n_missing: int
    """Annotations without a preference."""
    interval: Interval | None
    """The 95% bootstrap interval of `win_rate`."""
    length_controlled_winrate: float | None
    """AlpacaEval's, from its difficulties and regularizer, or from published weights."""
    lc_standard_error: float | None
    """AlpacaEval's formula: the spread of predictions, no sampling error."""
    lc_interval: Interval | None
    """The 95% bootstrap interval of `length_controlled_winrate`, from refits."""
    lc_weights: tuple[float, float, float] | None
    lc_note: str
    """Why there is no length-controlled win rate, or where it is from."""
    length_adjusted_winrate: float | None
    """The win rate at equal length from these annotations alone, without AlpacaEval's terms."""
    length_adjusted_interval: Interval | None
    style_controlled_winrate: float | None
    """The win rate at equal length and equal use of headers, bold and lists."""
    style_controlled_interval: Interval | None
    weighted_win_rate: float | None
    """Arena-Hard's score, with strong verdicts counted three times; None without such verdicts."""
    weighted_interval: Interval | None
    length_only: float | None
    """The win rate if always the longer answer won."""
    longer_preferred: float | None
    """The share of the decided comparisons that the longer answer won, in percent."""
    shown_first: float | None
    """The win rate where the judge saw the model's answer first."""
    shown_second: float | None
    """The win rate where the judge saw the model's answer second."""


def figures(annotations: Sequence[Annotation], control: Control | None = None) -> Figures:
    """Every figure that the annotations of a model allow. Raises `BadData`."""
    control = control or Control()
    if all(one.win is None for one in annotations):
        why = next((f" ({one.note})" for one in annotations if one.note), "")
        raise BadData(f"none of {len(annotations)} comparisons has a preference{why}.")
    wins = [one.win for one in annotations]
    known = [win for win in wins if win is not None]
    rates = win_rate(wins)
    found, note = _length_control(annotations, control)
    adjusted = _adjusted(annotations)
    style, by_length = _at_equal_style(annotations), _by_length(annotations)
    graded = [one for one in annotations if one.win is not None and one.weight is not None]
    baseline, model = annotations[0].generators
    return Figures(
        **attrs.asdict(rates),
        model=model,
        baseline=baseline,
        n_missing=len(wins) - len(known),
        interval=bootstrap([100 * win for win in known]),
        length_controlled_winrate=found.win_rate if found else None,
        lc_standard_error=found.spread if found else None,
        lc_interval=found.interval if found else None,
        lc_weights=found.weights if found else None,
        lc_note=note,
        length_adjusted_winrate=adjusted.win_rate if adjusted else None,
        length_adjusted_interval=adjusted.interval if adjusted else None,
        style_controlled_winrate=style.win_rate if style else None,
        style_controlled_interval=style.interval if style else None,
        weighted_win_rate=_weighted(graded) if graded else None,
        weighted_interval=_weighted_interval(graded) if graded else None,
        length_only=by_length[0] if by_length else None,
        longer_preferred=by_length[1] if by_length else None,
        shown_first=_percent([one.shown_first for one in annotations]),
        shown_second=_percent([one.shown_second for one in annotations]),
    )


def _length_control(
    annotations: Sequence[Annotation], control: Control
) -> tuple[LengthControl | None, str]:
    """AlpacaEval's length-controlled win rate, and where it is from or why there is none."""
    if control.weights:
        return _from_weights(annotations, control, control.weights), "from the weights given"
    if control.difficulty is None or control.regularizer is None:
        return None, "needs the difficulty of each prompt and a regularizer: see length_adjusted"
    lengths = _lengths(annotations)
    if lengths is None:
        return None, "needs the lengths of the answers"
    if sum(one.win is not None for one in annotations) < FEWEST:
        return None, f"needs {FEWEST} preferences"
    hard = control.difficulty.of(annotations)
    wins = [one.win for one in annotations]
    found = length_controlled(wins, lengths, hard, control.regularizer)
    return found, "the model is the baseline" if found.c is None else "fitted"


def _from_weights(
    annotations: Sequence[Annotation], control: Control, weights: tuple[float, float, float]
) -> LengthControl:
    if control.difficulty is None and weights[1]:
        raise BadData("--weights: the weight of the difficulty needs --difficulty, too.")
    nothing = [0.0] * len(annotations)
    hard = control.difficulty.of(annotations) if control.difficulty else nothing
    return from_weights(weights, hard)


def _adjusted(annotations: Sequence[Annotation]) -> LengthControl | None:
    lengths = _lengths(annotations)
    if lengths is None or sum(one.win is not None for one in annotations) < FEWEST:
        return None
    return length_controlled([one.win for one in annotations], lengths)


def _by_length(annotations: Sequence[Annotation]) -> tuple[float, float | None] | None:
    lengths = _lengths(annotations)
    return shares_of_length([one.win for one in annotations], lengths) if lengths else None


def _lengths(annotations: Sequence[Annotation]) -> list[tuple[int, int]] | None:
    """The lengths of all answers; None if some are unknown."""
    known = [one.lengths for one in annotations if one.lengths is not None]
    return known if len(known) == len(annotations) else None


def _at_equal_style(annotations: Sequence[Annotation]) -> StyleControl | None:
    both = [one for one in annotations if one.win is not None and one.outputs is not None]
    if len(both) < FEWEST:
        return None
    wins = [one.win for one in both if one.win is not None]
    texts = [one.outputs for one in both if one.outputs is not None]
    styles = [(style_of(base), style_of(model)) for base, model in texts]
    return style_controlled(wins, styles, [one.weight or 1.0 for one in both])


def _weighted(graded: Sequence[Annotation]) -> float:
    weights = [one.weight or 1.0 for one in graded]
    wins = zip(weights, (one.win or 0.0 for one in graded), strict=True)
    return 100 * sum(weight * win for weight, win in wins) / sum(weights)


def _weighted_interval(graded: Sequence[Annotation]) -> Interval | None:
    return bootstrap(
        [100 * (one.win or 0.0) for one in graded], [one.weight or 1.0 for one in graded]
    )


def _percent(wins: Sequence[float | None]) -> float | None:
    known = [win for win in wins if win is not None]
    return 100 * sum(known) / len(known) if known else None
