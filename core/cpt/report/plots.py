"""The kinds of plots in a report, drawn from plain numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from cpt.report.formatting import digits, short
from cpt.report.histogram import Bin, equal_bins
from cpt.report.svg import (
    FONT,
    Canvas,
    Scale,
    axis_labels,
    axis_x,
    axis_y,
    canvas,
    finite_runs,
    scale_of,
    text_width,
    tick_labels,
    ticks,
)

WIDTH, HEIGHT = 360.0, 220.0
"""Narrow enough that a phone need not shrink the letters."""
TOP, BOTTOM = 24.0, 38.0
"""Room for the titles above and below the axes."""
RIGHT = 12.0
"""Room for half a label at the right end of an axis."""
ROW = 22.0
"""Height of one row of `intervals`."""
BETWEEN = 34.0
"""Between the panels of `intervals`."""
FEW = 12
"""Different values that have a bar each."""
MARKED = 40
"""Points of a line that are each marked; more would hide the line."""

Curve = Sequence[tuple[float, float]]
Interval = tuple[float, float, float]
"""Value, low end, high end; the ends may be infinite."""


@attrs.frozen
class Panel:
    """One axis of `intervals`: a value for each row, or None where there is none."""

    title: str
    values: Sequence[Interval | None]
    zero: bool = False
    """Whether zero has a line."""


def lines(curves: Mapping[str, Curve], x_title: str, y_title: str, alt: str, *, zero: bool) -> str:
    """One or two curves by their names; `zero` draws a line at zero. One value must be finite."""
    image = canvas(WIDTH, HEIGHT, alt)
    xs = [x for curve in curves.values() for x, _ in curve]
    ys = [y for curve in curves.values() for _, y in curve if math.isfinite(y)]
    y = scale_of([*ys, 0.0] if zero else ys, HEIGHT - BOTTOM, TOP)
    left = _y_axis(image, y, ticks(y, 5), y_title)
    x = scale_of(xs, left, WIDTH - RIGHT, pad=0.03)
    axis_x(image, x, HEIGHT - BOTTOM, x_title, whole=True)
    if zero:
        image.line((left, y(0)), (WIDTH - RIGHT, y(0)), "zero")
    for series, curve in zip(("first", "second"), curves.values(), strict=False):
        _curve(image, [(x(step), y(value)) for step, value in curve], series)
    if len(curves) > 1:
        _legend(image, list(curves))
    return image.markup()


def _y_axis(image: Canvas, scale: Scale, values: Sequence[float], title: str) -> float:
    """Draw it at the left of the image, with its title above; return where the plot begins."""
    left = 8 + max(map(text_width, tick_labels(values)), default=0)
    axis_y(image, scale, left, values, image.width - RIGHT)
    image.text(0, FONT, title)
    return left


def _curve(image: Canvas, points: Curve, series: str) -> None:
    for run in finite_runs(points):
        image.path(run, f"curve {series}")
        for x, y in run if len(points) <= MARKED or len(run) == 1 else ():
            _marker(image, x, y, series)


def _marker(image: Canvas, x: float, y: float, series: str) -> None:
    """A disc for the first series, a square for the second: not only colour distinguishes them."""
    if series == "first":
        image.add("circle", f"mark {series}", cx=x, cy=y, r=2.2)
    else:
        image.add("rect", f"mark {series}", x=x - 2, y=y - 2, width=4, height=4)


def _legend(image: Canvas, names: Sequence[str]) -> None:
    """At the top, from the right."""
    x = image.width - RIGHT
    for series, name in reversed(list(zip(("first", "second"), names, strict=True))):
        x -= text_width(name)
        image.text(x, FONT, name)
        image.path([(x - 26, FONT - 4), (x - 4, FONT - 4)], f"curve {series}")
        _marker(image, x - 15, FONT - 4, series)
        x -= 36


def bars(values: Sequence[float], x_title: str, y_title: str, alt: str) -> str:
    """How often each value is met: a bar for each value if their labels fit, else a histogram."""
    counts = Counter(values)
    labels = {value: digits(value, 3) for value in sorted(counts)} if len(counts) <= FEW else {}
    if not labels or sum(map(text_width, labels.values())) + FONT * len(labels) > WIDTH - 40:
        return histogram(equal_bins(values), x_title, y_title, alt)
    image = canvas(WIDTH, HEIGHT, alt)
    _columns(image, {label: counts[value] for value, label in labels.items()}, y_title)
    image.text(WIDTH / 2, HEIGHT - 8, x_title, "middle")
    return image.markup()


def histogram(bins: Sequence[Bin], x_title: str, y_title: str, alt: str) -> str:
    """How many values are in each bin."""
    image = canvas(WIDTH, HEIGHT, alt)
    y, left = _count_axis(image, [part.count for part in bins], y_title)
    x = Scale(bins[0].low, bins[-1].high, left + 4, WIDTH - RIGHT)
    for part in bins:
        _bar(image, y, x(part.low) + 0.6, x(part.high) - 0.6, part.count)
    axis_x(image, x, HEIGHT - BOTTOM, x_title)
    if bins[0].low < 0 < bins[-1].high:
        image.line((x(0), TOP), (x(0), HEIGHT - BOTTOM), "zero")
    return image.markup()


def _count_axis(image: Canvas, counts: Sequence[int], title: str) -> tuple[Scale, float]:
    y = Scale(0, 1.05 * max(counts), HEIGHT - BOTTOM, TOP)
    return y, _y_axis(image, y, ticks(y, 5, whole=True), title)


def _columns(image: Canvas, counts: Mapping[str, int], title: str) -> None:
    """Bars of the same width, each with its label."""
    y, left = _count_axis(image, list(counts.values()), title)
    width = (WIDTH - RIGHT - left) / len(counts)
    middles = [left + (place + 0.5) * width for place in range(len(counts))]
    for middle, count in zip(middles, counts.values(), strict=True):
        _bar(image, y, middle - 0.35 * width, middle + 0.35 * width, count)
    axis_labels(image, [*zip(middles, counts, strict=True)], HEIGHT - BOTTOM)
    image.line((left, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM), "axis")


def _bar(image: Canvas, y: Scale, left: float, right: float, count: int) -> None:
    if count:
        height = y(0) - y(count)
        image.add("rect", "bar", x=left, y=y(count), width=right - left, height=height)


def intervals(rows: Sequence[tuple[str, str]], panels: Sequence[Panel], alt: str) -> str:
    """Values with their intervals: a line for each row, which is a name and a CSS class."""
    names = [short(name) for name, _ in rows]
    bottom = TOP + ROW * len(rows)
    image = canvas(WIDTH, bottom + 22, alt)
    left = 14 + max(map(text_width, names))
    width = (WIDTH - RIGHT - left - BETWEEN * (len(panels) - 1)) / len(panels)
    middles = [TOP + (row + 0.5) * ROW for row in range(len(rows))]
    for name, y in zip(names, middles, strict=True):
        image.text(0, y + FONT / 3, name)
    for place, panel in enumerate(panels):
        start = left + place * (width + BETWEEN)
        x = _panel(image, panel, (start, start + width), bottom)
        for (_, kind), y, value in zip(rows, middles, panel.values, strict=True):
            image.line((start, y), (start + width, y), "grid")
            if value:
                _interval(image, x, y, value, kind)
    return image.markup()


def _panel(image: Canvas, panel: Panel, place: tuple[float, float], bottom: float) -> Scale:
    """Its axis, which says where a value is."""
    ends = [end for value in panel.values if value for end in value if math.isfinite(end)]
    x = scale_of([*ends, 0.0] if panel.zero or not ends else ends, *place, pad=0.08)
    axis_x(image, x, bottom)
    image.text(place[0], FONT, panel.title)
    if panel.zero:
        image.line((x(0), TOP - 4), (x(0), bottom), "zero")
    return x


def _interval(image: Canvas, x: Scale, y: float, interval: Interval, kind: str) -> None:
    value, low, high = interval
    if math.isfinite(low) and math.isfinite(high):
        image.line((x(low), y), (x(high), y), f"interval {kind}")
    if math.isfinite(value):
        image.add("circle", f"dot {kind}", cx=x(value), cy=y, r=3)
