"""The record as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

import attrs
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cpt.report import plots, words
from cpt.report.plots import Plot
from cpt.report.read import curves as training
from cpt.report.read import scores
from cpt.report.read.curves import Course
from cpt.report.read.pairs import COMPARED, Pairs
from cpt.report.read.run import Report
from cpt.report.read.scores import Measure
from cpt.service.credentials import scrub

TEMPLATES = Path(__file__).with_name("templates")


@attrs.frozen
class Figure:
    """A plot, drawn."""

    plot: Plot
    svg: str


def render(report: Report) -> str:
    """The page of a run."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_sayable,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        {
            each.__name__: each
            for each in (
                *(words.counted, words.digits, words.dollars, words.duration, words.share),
                *(words.signed, words.with_interval, scores.verdict, training.story),
                *(training.facts, training.span),
            )
        }
    )
    return environment.get_template("page.html").render(
        report=report,
        measured=[
            (measure, _scores(measure, at)) for at, measure in enumerate(report.measures, start=1)
        ],
        pairs_look=list(_pairs(report.pairs)) if report.pairs else [],
        course_look=list(_course(report.course)) if report.course else [],
    )


def _sayable(value: Any) -> Any:
    """Whatever stands in the page: no secret of this environment, nothing that is no text."""
    return words.legible(scrub(value)) if type(value) is str else value


def _scores(measure: Measure, at: int) -> Figure:
    said = "; ".join(
        f"{each.who} {words.with_interval(each.score, measure.decimals)}"
        for each in measure.standings
    )
    plot = Plot(
        name=f"score-{at}",
        caption="Score and change with their 95% intervals; the ring is the model before training.",
        alt=words.legible(f"{measure.name} with 95% intervals: {said}."),
    )
    return Figure(plot, plots.scores(measure, plot))


def _pairs(pairs: Pairs) -> Iterator[Figure]:
    if len(set(pairs.margins)) > 1 and not pairs.distance_is_margin:
        plot = Plot(
            name="margins",
            caption="How clear the preferences are.",
            alt=f"Margins from {words.digits(min(pairs.margins))} to "
            f"{words.digits(max(pairs.margins))}, median {words.digits(median(pairs.margins))}.",
        )
        yield Figure(plot, plots.margins(pairs, plot))
    if pairs.distances:
        yield _distances(pairs)
    if len(set(pairs.gaps)) > 1:
        yield _gaps(pairs)


def _distances(pairs: Pairs) -> Figure:
    measured = words.counted(len(pairs.distances), "pair")
    of = "all pairs" if len(pairs.distances) == pairs.count else f"{measured} from all of the file"
    long = words.counted(pairs.too_long, "pair") if pairs.too_long else ""
    said = [
        f"How much of the text the two sides do not share: edit distance over the longer length, "
        f"of {of}.",
        "It is the pairer's margin, too." if pairs.distance_is_margin else "",
        f"{long} with an answer of more than {COMPARED:,} characters left out." if long else "",
    ]
    plot = Plot(
        name="distances",
        caption=" ".join(filter(None, said)),
        alt=f"Characters to change: {words.share(median(pairs.distances), 1)} at the median.",
    )
    return Figure(plot, plots.distances(pairs, plot))


def _gaps(pairs: Pairs) -> Figure:
    longer, shorter = (sum(sign * gap > 0 for gap in pairs.gaps) for sign in (1, -1))
    equal = pairs.count - longer - shorter
    far = plots.beyond(pairs.gaps)
    held = f" {words.counted(far, 'pair')} farther out stand in the outermost bars." if far else ""
    said = (
        f"The chosen side is longer in {words.share(longer, pairs.count)}, as long in "
        f"{words.share(equal, pairs.count)}, shorter in {words.share(shorter, pairs.count)} of the "
        f"pairs; the mean gap is {words.signed(fmean(pairs.gaps), 1, sign=True)} characters."
    )
    plot = Plot(name="gaps", caption=f"{said}{held}", alt=f"Length gap. {said}")
    return Figure(plot, plots.gaps(pairs, plot))


LOGPS = {"logps/chosen": "chosen", "logps/rejected": "rejected"}
MOVED = {"moved/chosen": "chosen", "moved/rejected": "rejected"}
CURVES: tuple[tuple[str, str, Mapping[str, str], str, bool], ...] = (
    (
        "moved",
        "Log-probability of each side against the reference model, per answer: above the line it "
        "became more likely than it was, below it less.",
        MOVED,
        "change in nats",
        True,
    ),
    (
        "logps",
        "Log-probability of each side under the model itself, per answer. Every point is of other "
        "pairs, so it also moves with their lengths.",
        LOGPS,
        "log-probability in nats",
        False,
    ),
    (
        "margin",
        "Reward margin: the reward of the chosen answer less that of the rejected one.",
        {"rewards/margins": "margin"},
        "reward margin",
        True,
    ),
    (
        "accuracy",
        "Accuracy: the share of pairs whose chosen answer has the higher reward.",
        {"rewards/accuracies": "accuracy"},
        "pairs, in %",
        False,
    ),
    ("loss", "The loss.", {"loss": "loss"}, "loss", False),
)
"""Name, caption, metrics, axis, and whether zero has a line: in the order of what matters."""


def _course(course: Course) -> Iterator[Figure]:
    """Nothing for a single line of metrics: a point is no course."""
    for name, caption, metrics, label, zero in CURVES if course.is_curve else ():
        there = {metric: called for metric, called in metrics.items() if metric in course.curves}
        if not there:
            continue
        ends = "; ".join(
            f"{called} from {words.digits(course.curves[metric][0][1])} to "
            f"{words.digits(course.curves[metric][-1][1])}"
            for metric, called in there.items()
        )
        plot = Plot(
            name=name,
            caption=caption,
            alt=f"{label} over {words.counted(course.steps, 'step')}: {ends}.",
        )
        yield Figure(plot, plots.curves(course, plot, there, label, zero=zero))
    if course.order:
        yield _order(course)


def _order(course: Course) -> Figure:
    means = [mean for _, mean in course.order]
    plot = Plot(
        name="order",
        caption=f"The order: mean {course.ordered_by} of the pairs that were trained on; level "
        "where they were shuffled, a stair or a slope where a curriculum chose.",
        alt=f"Mean {course.ordered_by} from {words.digits(means[0])} to {words.digits(means[-1])}.",
    )
    return Figure(plot, plots.order(course, plot))
