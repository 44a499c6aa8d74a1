"""Plots as SVG markup inside an HTML file: axes with ticks, lines, points, bars and text.

Nothing here has a colour: elements carry a class, and the style sheet of the report gives each
class its colour, in light and in dark. Text is text of the report, so its width is only estimated.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

import attrs

from cpt.report.formatting import MINUS, printable, signed

FONT = 11
"""Height of the text, in units of the plot; `style.css` has the same."""
LETTER = 0.6 * FONT
"""Mean width of a letter, on the wide side."""


@attrs.frozen
class Scale:
    """Maps the values from `low` to `high` onto positions from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def scale_of(values: Sequence[float], start: float, end: float, *, pad: float = 0.04) -> Scale:
    """The scale that holds these finite values, with a part of their range left free around them.

    If all values are equal, the range is 1 or, for a large value, a tenth of it.
    """
    low, high = min(values), max(values)
    free = pad * (high - low) or max(0.5, abs(low) / 20)
    return Scale(low - free, high + free, start, end)


def ticks(scale: Scale, most: int, *, whole: bool = False) -> list[float]:
    """Round values on a scale with at most `most` steps between them; `whole` for whole numbers.

    A step is 1, 2, 2.5 or 5 times a power of ten.
    """
    step = _step((scale.high - scale.low) / most, whole)
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [number * step for number in range(first, last + 1)]


def ticks_that_fit(scale: Scale, *, whole: bool = False) -> list[float]:
    """As many ticks, up to six, as have room for their labels on a horizontal axis."""
    sets = [ticks(scale, most, whole=whole) for most in range(6, 1, -1)]
    several = [found for found in sets if len(found) > 1]
    ends = [[found[0], found[-1]] for found in several[::-1]]  # one tick alone shows no scale
    width = scale.end - scale.start
    return next((found for found in (*several, *ends, *sets) if _fits(found, width)), [])


def _fits(values: Sequence[float], width: float) -> bool:
    return sum(text_width(label) + FONT for label in tick_labels(values)) <= width


def _step(least: float, whole: bool) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    steps = (factor * power for factor in (1, 2, 2.5, 5, 10, 20))
    return next(
        step for step in (*steps, 1.0) if step >= least and (not whole or step == round(step))
    )


def tick_labels(values: Sequence[float]) -> list[str]:
    """The values with as many decimals as tell them apart."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    if step < 1e-5 or max(map(abs, values), default=0) >= 1e7:
        return [f"{value:.3g}".replace("-", MINUS) for value in values]
    exact = (count for count in range(7) if _is_said([step, *values[:1]], count, step / 1000))
    decimals = next(exact, 6)
    return [signed(value, decimals) for value in values]


def _is_said(values: Sequence[float], decimals: int, within: float) -> bool:
    return all(abs(value - round(value, decimals)) <= within for value in values)


def text_width(text: str) -> float:
    """An estimate; East Asian wide characters count twice, combining ones not at all."""
    return LETTER * sum(
        2 if unicodedata.east_asian_width(letter) in "WF" else not unicodedata.combining(letter)
        for letter in text
    )


@attrs.frozen
class Canvas:
    """An SVG image being drawn, in units that grow to the right and down."""

    width: float
    root: ElementTree.Element

    def add(self, tag: str, kind: str, **places: float) -> ElementTree.Element:
        """Add an element of a CSS class at these places."""
        given = {name: f"{value:.2f}".rstrip("0").rstrip(".") for name, value in places.items()}
        return ElementTree.SubElement(self.root, tag, {"class": kind, **given})

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Write at a place; the classes `middle` and `end` are where the text has it."""
        self.add("text", f"label {kind}".rstrip(), x=x, y=y).text = printable(text)

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        self.add("line", kind, x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Join these points by straight lines."""
        moves = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.add("path", kind).set("d", f"M{moves}")

    def markup(self) -> str:
        return ElementTree.tostring(self.root, encoding="unicode", short_empty_elements=False)


def canvas(width: float, height: float, alt: str) -> Canvas:
    """An empty image; `alt` says the same to those who do not see it."""
    box = {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": printable(alt)}
    return Canvas(width, ElementTree.Element("svg", box))


def axis_x(image: Canvas, scale: Scale, at: float, title: str = "", *, whole: bool = False) -> None:
    """A horizontal axis with as many ticks as fit, and its title below if there is one."""
    values = ticks_that_fit(scale, whole=whole)
    axis_labels(image, [*zip(map(scale, values), tick_labels(values), strict=True)], at)
    image.line((scale.start, at), (scale.end, at), "axis")
    if title:
        image.text((scale.start + scale.end) / 2, at + 15 + 1.3 * FONT, title, "middle")


def axis_labels(image: Canvas, labels: Sequence[tuple[float, str]], at: float) -> None:
    """Texts below a horizontal axis, each under a tick."""
    for x, label in labels:
        image.line((x, at), (x, at + 3), "axis")
        image.text(x, at + 4 + FONT, label, "middle")


def axis_y(image: Canvas, scale: Scale, at: float, values: Sequence[float], right: float) -> None:
    """A vertical axis at `at`: labels left of it, and faint lines to `right`."""
    for value, label in zip(values, tick_labels(values), strict=True):
        image.line((at, scale(value)), (right, scale(value)), "grid")
        image.text(at - 5, scale(value) + FONT / 3, label, "end")


def finite_runs(
    points: Sequence[tuple[float, float]],
) -> Iterator[list[tuple[float, float]]]:
    """The points in runs between those that are not finite numbers."""
    run: list[tuple[float, float]] = []
    for point in points:
        if math.isfinite(point[1]):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run
