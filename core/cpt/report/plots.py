"""The plots of a page: static SVG whose text is text and whose colours the page decides."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import attrs
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cpt.config import AFTER, BEFORE
from cpt.report.read.curves import Course, Curve
from cpt.report.read.pairs import Pairs
from cpt.report.read.scores import Measure, Standing
from cpt.report.words import digits, short
from cpt.types import Score

INK, FAINT, ONE, OTHER = "#0a0b0c", "#0d0e0f", "#0a0b01", "#0a0b02"
VARIABLES = {INK: "--ink", FAINT: "--faint", ONE: "--one", OTHER: "--other"}
"""Stand-ins for the page's own colours, which differ by light and dark."""
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": ONE, "marker": "o", "linestyle": "-"},
    {"color": OTHER, "marker": "s", "linestyle": "--"},
)
"""Told apart by more than colour."""
WIDTH, HEIGHT = 4.2, 2.6
"""Inches; narrow enough that a phone need not shrink the letters."""
BINS = 25
MARKED = 40
"""Points of a curve that are each marked; more would hide the line."""
FEW = 12
"""Different values that are drawn one by one."""
STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.formatter.use_mathtext": False,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.unicode_minus": True,
    "axes.xmargin": 0.03,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.markersize": 3.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "cpt",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.color": INK,
    "ytick.labelcolor": INK,
}
_STYLED = re.compile(r"#0a0b0c|#0d0e0f|#0a0b01|#0a0b02")
_FONT = re.compile(r"font: ([\d.]+)px [^;]*")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


@contextmanager
def _own_style() -> Iterator[None]:
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        warnings.simplefilter("ignore")
        yield


@attrs.frozen(kw_only=True)
class Plot:
    """A plot with what is said under it, and instead of it."""

    name: str
    """No other plot of the page has it."""
    caption: str
    alt: str
    """The same for those who do not see it."""


def _drawn(
    plot: Plot, draw: Callable[[Any], object], height: float = HEIGHT, columns: int = 1
) -> str:
    """The figure that `draw` makes of its axes, as markup to stand in a page."""
    with _own_style():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots(1, columns, sharey=columns > 1)
        for each in axes if columns > 1 else [axes]:
            each.patch.set_visible(False)
        draw(axes)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg")
    return _inline(drawn.getvalue(), plot)


def _inline(svg: str, plot: Plot) -> str:
    """Less what a file of its own would need, and with names that no other figure has."""
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    used = set(_REFERENCE.findall(svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.text = element.text if element.text and element.text.strip() else None
        element.tail = None
        attributes = {
            key.rpartition("}")[2]: _attribute(value, plot.name)
            for key, value in element.attrib.items()
            if key != "id" or value in used
        }
        element.attrib.clear()
        element.attrib.update(attributes)
        if "id" in element.attrib:
            element.set("id", f"{plot.name}-{element.attrib['id']}")
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", plot.alt)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _attribute(value: str, name: str) -> str:
    value = _STYLED.sub(lambda found: f"var({VARIABLES[found[0]]})", value)
    value = _FONT.sub(r"font-size: \1px", _REFERENCE.sub(rf"url(#{name}-\1)", value))
    value = re.sub(r"^#", f"#{name}-", value) if re.fullmatch(r"#\w+", value) else value
    return _NUMBER.sub(lambda found: f"{float(found[0]):.2f}", " ".join(value.split()))


def scores(measure: Measure, plot: Plot) -> str:
    """Every score with its interval, and beside it the change of each from `before`."""
    standings = measure.standings[::-1]

    def draw(axes: Any) -> None:
        left, right = axes
        for row, standing in enumerate(standings):
            _dot(left, row, standing.score, standing)
            if standing.change:
                _dot(right, row, standing.change, standing)
        right.axvline(0, color=FAINT, linewidth=0.8)
        right.spines.left.set_visible(False)
        left.set_yticks(range(len(standings)), [short(each.who) for each in standings])
        left.set_ylim(-0.6, len(standings) - 0.4)
        left.set_xlabel("score")
        right.set_xlabel("change from before")
        for each in axes:
            each.tick_params(axis="y", length=0)
            each.xaxis.get_major_locator().set_params(nbins=4)

    return _drawn(plot, draw, height=0.75 + 0.3 * len(standings), columns=2)


def _dot(axes: Axes, row: int, score: Score, standing: Standing) -> None:
    color = ONE if standing.who == AFTER else INK
    filled = color if standing.who != BEFORE else "none"
    if math.isfinite(score.low) and math.isfinite(score.high):
        axes.plot([score.low, score.high], [row, row], color=color, linewidth=2)
    axes.plot(
        score.value, row, marker="o", markersize=6, color=color, markerfacecolor=filled, zorder=3
    )


def margins(pairs: Pairs, plot: Plot) -> str:
    """How clear the preferences are."""
    return _drawn(plot, lambda axes: _spread(axes, pairs.margins, "margin, in the pairer's unit"))


def gaps(pairs: Pairs, plot: Plot) -> str:
    """How much longer the chosen side is."""

    def draw(axes: Axes) -> None:
        low, high = _middle(pairs.gaps)
        held = [min(max(gap, low), high) for gap in pairs.gaps]
        width = math.ceil((high - low + 1) / BINS)
        # Every bin is as many whole characters wide, and one of them has its middle at zero.
        bins = [(at - 0.5) * width for at in range(round(low / width), round(high / width) + 2)]
        axes.hist(held, bins=bins, color=ONE, rwidth=0.92)
        axes.axvline(0, color=INK, linewidth=1)
        _pairs_by(axes, "chosen less rejected, in characters")

    return _drawn(plot, draw)


def distances(pairs: Pairs, plot: Plot) -> str:
    """How much of an answer would have to be changed."""

    def draw(axes: Axes) -> None:
        _spread(axes, [100 * each for each in pairs.distances], "characters to change, in %")

    return _drawn(plot, draw)


def _middle(values: Sequence[int]) -> tuple[int, int]:
    """What 98 of 100 values lie within: a few far ones would hide the others."""
    ranked = sorted(values)
    return ranked[len(ranked) // 100], ranked[-1 - len(ranked) // 100]


def beyond(values: Sequence[int]) -> int:
    """How many values a plot of the gaps holds in its outermost bars."""
    low, high = _middle(values)
    return sum(not low <= value <= high for value in values)


def _spread(axes: Axes, values: Sequence[float], label: str) -> None:
    """How often each value is met: one by one if they are few, in bins else."""
    different = sorted(set(values))
    if len(different) <= FEW:
        counts = [values.count(each) for each in different]
        axes.bar(range(len(different)), counts, width=0.7, color=ONE)
        axes.set_xticks(range(len(different)), [digits(each, 3) for each in different])
    else:
        axes.hist(values, bins=BINS, color=ONE, rwidth=0.92)
    _pairs_by(axes, label)


def _pairs_by(axes: Axes, label: str) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel(label)
    axes.set_ylabel("pairs")


def curves(
    course: Course, plot: Plot, metrics: Mapping[str, str], label: str, *, zero: bool = False
) -> str:
    """One or two metrics over the steps; `metrics` says what the legend calls them."""
    scale = 100 if label.endswith("%") else 1

    def draw(axes: Axes) -> None:
        for (metric, called), look in zip(metrics.items(), LOOKS, strict=False):
            _line(axes, course.curves[metric], look, called, scale)
        if zero:
            axes.axhline(0, color=FAINT, linewidth=0.8)
        if len(metrics) > 1:
            axes.legend(loc="best")
        axes.set_ylabel(label)

    return _drawn(plot, draw)


def order(course: Course, plot: Plot) -> str:
    """How hard the pairs were that each step was trained on."""

    def draw(axes: Axes) -> None:
        _line(axes, course.order, LOOKS[0])
        axes.set_ylabel(f"mean {course.ordered_by}")

    return _drawn(plot, draw)


def _line(
    axes: Axes, curve: Curve, look: Mapping[str, Any], called: str = "", scale: int = 1
) -> None:
    steps, values = zip(*curve, strict=True)
    marked = look if len(steps) <= MARKED else {**look, "marker": ""}
    axes.plot(steps, [scale * each for each in values], label=called, linewidth=1.6, **marked)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step")
