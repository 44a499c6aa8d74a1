"""Which plots the report of a run has: their numbers, captions and descriptions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean, median

import attrs

from cpt.config import AFTER, BEFORE
from cpt.report import plots
from cpt.report.formatting import counted, digits, share, short, signed, with_interval
from cpt.report.histogram import beyond, whole_bins
from cpt.report.read.curves import Curve, TrainingCurves
from cpt.report.read.pairs import COMPARED, PairSummary
from cpt.report.read.scores import ScoreTable
from cpt.types import Score

LONGEST_TITLE = 50
"""Letters that a plot has room for above its axis."""


@attrs.frozen
class Figure:
    """A plot as SVG markup, and what is written below it."""

    svg: str
    caption: str


# Scores


def score_figure(table: ScoreTable) -> Figure:
    """Every model's score and its change, with their intervals."""
    kinds = {BEFORE: "before", AFTER: "after"}
    rows = [(result.model, kinds.get(result.model, "control")) for result in table.results]
    panels = [plots.Panel("score", [_interval(result.score) for result in table.results])]
    if any(result.change for result in table.results):
        changes = [_interval(result.change) for result in table.results]
        panels.append(plots.Panel("change", changes, zero=True))
    values = [
        f"{result.model} {with_interval(result.score, table.decimals)}" for result in table.results
    ]
    return Figure(
        plots.intervals(rows, panels, f"{table.name} with 95% intervals: {'; '.join(values)}."),
        "Score, and change from before training, with 95% intervals. The ring is the model before "
        "training.",
    )


def _interval(score: Score | None) -> plots.Interval | None:
    return (score.value, score.low, score.high) if score else None


# Pairs


def pair_figures(pairs: PairSummary) -> Iterator[Figure]:
    """Margins, edit distances and differences in length, where they say anything."""
    margins = [margin for margin in pairs.margins if math.isfinite(margin)]
    if len(set(margins)) > 1 and not pairs.distance_is_margin:
        yield _margins(margins)
    if pairs.distances:
        yield _distances(pairs)
    if len(set(pairs.gaps)) > 1:
        yield _gaps(pairs)


def _margins(margins: list[float]) -> Figure:
    alt = (
        f"Margins from {digits(min(margins))} to {digits(max(margins))}, "
        f"median {digits(median(margins))}."
    )
    title = "margin, in the pairer's unit"
    return Figure(
        plots.bars(margins, title, "pairs", alt),
        "Margin: how clear the preference of each pair is.",
    )


def _distances(pairs: PairSummary) -> Figure:
    percent = [100 * distance for distance in pairs.distances]
    few = "" if len(percent) == pairs.count else f" of {counted(len(percent), 'pair')}"
    captions = [
        f"Edit distance{few}: characters to change between the two sides, as a share of the "
        "longer one.",
        "It is the pairer's margin, too." if pairs.distance_is_margin else "",
    ]
    if pairs.too_long:
        long = counted(pairs.too_long, "pair")
        captions.append(f"{long} with an answer of more than {COMPARED:,} characters left out.")
    alt = f"Characters to change: {share(median(pairs.distances), 1)} at the median."
    return Figure(
        plots.bars(percent, "characters to change, in %", "pairs", alt),
        " ".join(filter(None, captions)),
    )


def _gaps(pairs: PairSummary) -> Figure:
    longer, shorter = (sum(sign * gap > 0 for gap in pairs.gaps) for sign in (1, -1))
    equal = pairs.count - longer - shorter
    summary = (
        f"The chosen side is longer in {share(longer, pairs.count)} of the pairs, equally long in "
        f"{share(equal, pairs.count)} and shorter in {share(shorter, pairs.count)}; the mean "
        f"difference is {signed(fmean(pairs.gaps), 1, sign=True)} characters."
    )
    far = beyond(pairs.gaps)
    rest = f" The outermost bars include {counted(far, 'pair')} farther out." if far else ""
    title = "length of chosen minus rejected, in characters"
    return Figure(
        plots.histogram(whole_bins(pairs.gaps), title, "pairs", f"Length. {summary}"),
        summary + rest,
    )


# Training


@attrs.frozen
class CurvePlot:
    """One plot of one or two metrics."""

    metrics: dict[str, str]
    """Each metric with its name in the legend."""
    title: str
    """Of the vertical axis."""
    caption: str
    zero: bool = False
    percent: bool = False


CURVES = (
    CurvePlot(
        {"logratios/chosen": "chosen", "logratios/rejected": "rejected"},
        "change in nats",
        "Log-ratio: log-probability of each side minus that under the reference model, for a whole "
        "answer. Above zero the answers became more likely, below zero less.",
        zero=True,
    ),
    CurvePlot(
        {"eval/logratios/chosen": "chosen", "eval/logratios/rejected": "rejected"},
        "change in nats, held out",
        "The same of the held-out pairs, which are the same at every point.",
        zero=True,
    ),
    CurvePlot(
        {"logps/chosen": "chosen", "logps/rejected": "rejected"},
        "log-probability in nats",
        "Log-probability of each side, for a whole answer. Every point is for other pairs, so it "
        "also changes with their lengths.",
    ),
    CurvePlot(
        {"rewards/margins": "margin", "eval/rewards/margins": "held out"},
        "reward margin",
        "Reward margin: reward of the chosen answer minus reward of the rejected one.",
        zero=True,
    ),
    CurvePlot(
        {"rewards/accuracies": "accuracy", "eval/rewards/accuracies": "held out"},
        "pairs, in %",
        "Accuracy: share of the pairs whose chosen answer has the higher reward.",
        percent=True,
    ),
    CurvePlot({"loss": "loss", "eval/loss": "held out"}, "loss", "Loss: mean over pairs."),
)
"""In the order of importance."""


def training_figures(curves: TrainingCurves) -> Iterator[Figure]:
    """The metrics over the steps, what evaluators and the loss say, and the order of the pairs."""
    extra = [
        CurvePlot({name: name}, short(name, LONGEST_TITLE), f"{name}: logged by the loss.")
        for name in curves.extra
    ]
    asked = [
        CurvePlot(
            {name: name},
            short(score, LONGEST_TITLE),
            f"{score} on held-out data, measured as the model was trained.",
        )
        for name in curves.asked
        for score in [name.partition("/")[2]]
    ]
    for plot in (*CURVES, *asked, *extra):
        lines = {
            name: _scaled(curves.metrics[metric], 100 if plot.percent else 1)
            for metric, name in plot.metrics.items()
            if _is_curve(curves.metrics.get(metric, ()))
        }
        if lines:
            alt = f"{plot.title} over {counted(curves.steps, 'step')}: {_ends(lines)}."
            svg = plots.lines(lines, "step", plot.title, alt, zero=plot.zero)
            yield Figure(svg, plot.caption)
    if curves.order:
        yield _order(curves)


def _is_curve(curve: Curve) -> bool:
    """One point is no curve."""
    return len(curve) > 1 and any(math.isfinite(value) for _, value in curve)


def _scaled(curve: Curve, factor: int) -> Curve:
    return tuple((step, factor * value) for step, value in curve)


def _ends(lines: dict[str, Curve]) -> str:
    return "; ".join(
        f"{name} from {digits(curve[0][1])} to {digits(curve[-1][1])}"
        for name, curve in lines.items()
    )


def _order(curves: TrainingCurves) -> Figure:
    by = {"score": "score under the model"}.get(curves.ordered_by, curves.ordered_by)
    title = f"mean {by}"
    alt = f"Mean {curves.ordered_by} over the steps: {_ends({title: curves.order})}."
    return Figure(
        plots.lines({title: curves.order}, "step", title, alt, zero=False),
        f"Order of the pairs: {title} of the pairs in each step. It is level where the pairs were "
        "shuffled, and has steps or a slope where a curriculum ordered them.",
    )
