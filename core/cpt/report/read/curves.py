"""How training went, and above all where the likelihood of each side went."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs

from cpt.report.read.files import read_json, read_lines
from cpt.report.words import digits, share, signed

POINTS = 100
"""Most points of a curve."""
END = 0.1
"""The part of the steps that is at least the end of a training, or its beginning."""

Line = Mapping[str, Any]
Curve = tuple[tuple[float, float], ...]
"""Points: step, mean."""


@attrs.frozen(kw_only=True)
class Side:
    """What became of the log-probability of one side of the pairs, in nats for an answer."""

    name: str
    first: float
    """Mean over the first steps."""
    last: float
    """Mean over the last steps."""
    moved: float | None
    """Against the reference model, mean over the last steps; None where there is none."""
    tokens: float | None
    """Mean length of its answers."""


@attrs.frozen(kw_only=True)
class Course:
    """What `metrics.jsonl` says of one training."""

    steps: int
    """The last step that was logged."""
    lines: int
    curves: Mapping[str, Curve]
    """Every metric over the steps, and `moved/chosen`, `moved/rejected` in nats."""
    last: Line
    """The last line."""
    sides: tuple[Side, ...]
    order: Curve
    """The mean of `ordered_by` over the pairs of each step; empty if all pairs are alike in it."""
    ordered_by: str
    """`tier`, or `margin` where no pair has a tier."""
    begin: tuple[int, int]
    """First and last of the first steps: a tenth of all, or more where lines are for more."""
    end: tuple[int, int]
    """The same of the last steps."""

    @property
    def is_curve(self) -> bool:
        return self.lines > 1


def read_course(run: Path, loss: Mapping[str, Any]) -> Course | None:
    """The course of a training with a loss of these options; None if nothing was logged."""
    lines = [line for line in read_lines(run / "metrics.jsonl") if "step" in line]
    if not lines:
        return None
    beta = _reference_scale(lines, loss)
    if beta:
        lines = [_with_moves(line, beta) for line in lines]
    names = [name for name in lines[-1] if name not in ("step", "epoch")]
    ordered_by, order = _order(run, lines[-1]["step"])
    doctor = read_json(run / "doctor.json") or {}
    return Course(
        steps=lines[-1]["step"],
        lines=len(lines),
        curves={name: _curve(lines, name) for name in names},
        last=lines[-1],
        sides=tuple(
            _side(name, lines, doctor)
            for name in ("chosen", "rejected")
            if f"logps/{name}" in lines[-1]
        ),
        order=order,
        ordered_by=ordered_by,
        begin=(1, _head(lines)[-1][1]),
        end=(_tail(lines)[0][0] + 1, lines[-1]["step"]),
    )


def _reference_scale(lines: Sequence[Line], loss: Mapping[str, Any]) -> float | None:
    """What a nat of log-ratio counts as reward; None where the rewards are of no ratio.

    A loss without a reference takes the log-probability itself, so the one is a multiple of the
    other, which it never is beside a reference.
    """
    beta = loss.get("beta", 1.0)
    if "rewards/chosen" not in lines[-1] or not isinstance(beta, int | float) or not beta:
        return None
    own = all(
        math.isclose(line["rewards/chosen"], beta * line["logps/chosen"], rel_tol=1e-4)
        for line in lines
    )
    return None if own else float(beta)


def _with_moves(line: Line, beta: float) -> dict[str, Any]:
    sides = [side for side in ("chosen", "rejected") if f"rewards/{side}" in line]
    return {**line, **{f"moved/{side}": line[f"rewards/{side}"] / beta for side in sides}}


def _spans(lines: Sequence[Line]) -> list[tuple[int, int, Line]]:
    """Each line with the steps that it is the mean of: after the first, up to the second."""
    steps = [0, *(line["step"] for line in lines)]
    return list(zip(steps, steps[1:], lines, strict=False))


def _tail(lines: Sequence[Line]) -> list[tuple[int, int, Line]]:
    spans = _spans(lines)
    last = lines[-1]["step"]
    return [span for span in spans if span[1] > last * (1 - END)]


def _head(lines: Sequence[Line]) -> list[tuple[int, int, Line]]:
    spans = _spans(lines)
    return [span for span in spans if span[0] < max(lines[-1]["step"] * END, 1)]


def _mean(spans: Sequence[tuple[int, int, Line]], name: str) -> float:
    """By step: a line that stands for more of them counts for more."""
    known = [(end - begin, float(line[name])) for begin, end, line in spans if name in line]
    return sum(steps * value for steps, value in known) / sum(steps for steps, _ in known)


def _order(run: Path, last: int) -> tuple[str, Curve]:
    """How hard the pairs of each step were, up to the last that was done."""
    path = run / "order.parquet"
    if not path.exists():
        return "", ()
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        read = file.iter_batches(columns=["step", "tier", "margin"])
        rows = [row for batch in read for row in batch.to_pylist() if row["step"] <= last]
    by = "tier" if any(row["tier"] for row in rows) else "margin"
    known: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row[by] is not None:
            known[row["step"]].append(row[by])
    if len({value for values in known.values() for value in values}) < 2:
        return by, ()
    return by, _curve([{"step": step, by: fmean(known[step])} for step in sorted(known)], by)


def _curve(lines: Sequence[Line], name: str) -> Curve:
    """At most so many points, each the mean of as many lines as the others."""
    spans = [span for span in _spans(lines) if name in span[2]]
    size = math.ceil(len(spans) / POINTS)
    groups = [spans[at : at + size] for at in range(0, len(spans), size)]
    # The last line is of the steps that were left over: a point of its own would be all noise.
    if len(groups) > 2 and _steps(groups[-1]) < _steps(groups[-2]) / 2:
        groups[-2:] = [groups[-2] + groups[-1]]
    return tuple((group[-1][1], _mean(group, name)) for group in groups)


def _steps(spans: Sequence[tuple[int, int, Line]]) -> int:
    return spans[-1][1] - spans[0][0]


def _side(name: str, lines: Sequence[Line], doctor: Mapping[str, Any]) -> Side:
    moves = f"moved/{name}" in lines[-1]
    return Side(
        name=name,
        first=_mean(_head(lines), f"logps/{name}"),
        last=_mean(_tail(lines), f"logps/{name}"),
        moved=_mean(_tail(lines), f"moved/{name}") if moves else None,
        tokens=doctor.get(f"{name}_tokens"),
    )


def story(course: Course) -> str:
    """Where the likelihood went, in words."""
    return " ".join(_sentences(course))


def _sentences(course: Course) -> Iterator[str]:
    moves = {side.name: side.moved for side in course.sides if side.moved is not None}
    if not all(map(math.isfinite, moves.values())):
        yield "The log-probabilities are no numbers any more: this training went astray."
        return
    if not moves:
        yield from _without_reference(course)
        return
    for name, moved in moves.items():
        yield f"The log-probability of the {name} answers {_word(moved)} by {_nats(moved)}."
    if len(moves) == 2:
        yield _both(moves["chosen"], moves["rejected"])
    yield (
        "These are sums over an answer's tokens, against the reference model, "
        f"in the mean of {span(course.end)}."
    )


def span(steps: tuple[int, int]) -> str:
    """`steps 1 to 10`, or `step 1`."""
    first, last = steps
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def _without_reference(course: Course) -> Iterator[str]:
    for side in course.sides:
        moved = side.last - side.first
        yield (
            f"The log-probability of the {side.name} answers {_word(moved)} from "
            f"{signed(side.first, 2)} nats an answer in {span(course.begin)} to "
            f"{signed(side.last, 2)} in {span(course.end)}."
        )
    if course.sides:
        yield (
            "This loss has no reference model, so these are of different pairs, and their "
            "lengths move them too."
        )


def _word(moved: float) -> str:
    return "rose" if moved > 0 else "fell" if moved < 0 else "moved"


def _nats(moved: float) -> str:
    """`1.20 nats (3.32 times as likely)`."""
    nats = f"{digits(abs(moved), 3)} nats"
    if abs(moved) > 20 or not moved:
        return nats
    return (
        f"{nats} ({digits(math.exp(abs(moved)), 3)} times {'as' if moved > 0 else 'less'} likely)"
    )


def _both(chosen: float, rejected: float) -> str:
    if chosen > 0 > rejected:
        return "So the two moved apart, each in the direction that the pairs ask for."
    if chosen < 0 and rejected < 0:
        further = "further" if rejected < chosen else "less far"
        return f"So both became less likely, the rejected {further}: the model left both behind."
    if chosen > 0 and rejected > 0:
        further = "further" if chosen > rejected else "less far"
        return f"So both became more likely, the chosen {further}."
    return "" if chosen == rejected == 0 else "So the two moved against what the pairs ask for."


def facts(course: Course) -> Iterator[tuple[str, str]]:
    """The last line of metrics, by what a reader calls it."""
    last = course.last
    yield "step", f"{course.steps:,}"
    for name, label in (("epoch", "epoch"), ("loss", "loss"), ("rewards/margins", "reward margin")):
        if name in last:
            yield label, digits(last[name])
    if "rewards/accuracies" in last:
        yield "accuracy", share(last["rewards/accuracies"], 1)
    if "tokens_per_second" in last:
        yield "tokens a second", f"{last['tokens_per_second']:,.0f}"
    if "padding" in last:
        yield "padding", share(last["padding"], 1)
