"""How training went: the metrics that it logged, over its steps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs
from attrs.validators import instance_of, optional

from cpt.files import as_written, read_json, read_lines

POINTS = 100
"""Most points of a curve."""
END = 0.1
"""The share of the steps that the first and the last steps of a training are."""
OWN = ("eval", "logps", "logratios", "rewards", "share")
"""The metrics with a slash in their name that core logs itself begin with one of these."""

HELD_OUT = "eval/"
"""How the names of held-out metrics begin; those of pairs continue as the trained pairs' do."""

Line = Mapping[str, Any]
"""A line of `metrics.jsonl`: each value is a mean over the steps since the line before."""
Span = tuple[int, int, Line]
"""A line with the steps that it is for: after the first, up to and including the second."""
Curve = tuple[tuple[float, float], ...]
"""Points: step, mean."""


@attrs.frozen(kw_only=True)
class Side:
    """The log-probability of one side of the pairs, in nats for a whole answer."""

    name: str
    """`chosen` or `rejected`."""
    first: float
    """Mean over the first steps."""
    last: float
    """Mean over the last steps."""
    log_ratio: float | None
    """To the reference model, mean over the last steps; None for a loss without a reference."""
    tokens: float | None = attrs.field(validator=optional(instance_of((int, float))))
    """Mean length of the answers."""


@attrs.frozen(kw_only=True)
class TrainingCurves:
    """What `metrics.jsonl` and `order.parquet` say about one training."""

    steps: int
    """The last step that was logged."""
    lines: int
    metrics: Mapping[str, Curve]
    """Every logged metric over the steps."""
    last: Line
    """The last line."""
    sides: tuple[Side, ...]
    order: Curve
    """The mean of `ordered_by` over the pairs of each step; empty if it is the same for all."""
    ordered_by: str
    """What the scheduler measured (`score`), else `tier`, or `margin` where no pair has a tier."""
    first_steps: tuple[int, int]
    """The first and the last of the first steps: a tenth of all, or as many as a line is for."""
    last_steps: tuple[int, int]
    """The same of the last steps."""

    @property
    def asked(self) -> tuple[str, ...]:
        """The scores of evaluators, measured as it went: `eval/EVALUATOR/SCORE`."""
        return tuple(
            name
            for name in self.metrics
            if name.startswith(HELD_OUT) and name.removeprefix(HELD_OUT) not in self.metrics
        )

    @property
    def extra(self) -> tuple[str, ...]:
        """The metrics that the loss itself logs: `NAME/metric`."""
        return tuple(
            name for name in self.metrics if "/" in name and name.partition("/")[0] not in OWN
        )


def read_curves(run: Path) -> TrainingCurves | None:
    """The curves of a run; None if nothing was logged. Raises `BadData` if a file is damaged."""
    with as_written(run / "metrics.jsonl"):
        lines = [line for line in read_lines(run / "metrics.jsonl") if "step" in line]
        if not lines:
            return None
        last = int(lines[-1]["step"])
        with as_written(run / "order.parquet"):
            order = _order(run, last)
        return _curves(lines, order, read_json(run / "doctor.json") or {})


def _curves(
    lines: Sequence[Line], ordered: tuple[str, Curve], doctor: Mapping[str, Any]
) -> TrainingCurves:
    names = dict.fromkeys(name for line in lines for name in line if name not in ("step", "epoch"))
    ordered_by, order = ordered
    return TrainingCurves(
        steps=lines[-1]["step"],
        lines=len(lines),
        metrics={name: _curve(lines, name) for name in names},
        last={name: _number(value) for name, value in lines[-1].items()},
        sides=tuple(
            _side(name, lines, doctor)
            for name in ("chosen", "rejected")
            if f"logps/{name}" in lines[-1]
        ),
        order=order,
        ordered_by=ordered_by,
        first_steps=(1, _head(lines)[-1][1]),
        last_steps=(_tail(lines)[0][0] + 1, lines[-1]["step"]),
    )


def _side(name: str, lines: Sequence[Line], doctor: Mapping[str, Any]) -> Side:
    has_reference = f"logratios/{name}" in lines[-1]
    return Side(
        name=name,
        first=_mean(_head(lines), f"logps/{name}"),
        last=_mean(_tail(lines), f"logps/{name}"),
        log_ratio=_mean(_tail(lines), f"logratios/{name}") if has_reference else None,
        tokens=doctor.get(f"{name}_tokens"),
    )


def _spans(lines: Sequence[Line]) -> list[Span]:
    steps = [0, *(line["step"] for line in lines)]
    return list(zip(steps, steps[1:], lines, strict=False))


def _head(lines: Sequence[Line]) -> list[Span]:
    return [span for span in _spans(lines) if span[0] < max(lines[-1]["step"] * END, 1)]


def _tail(lines: Sequence[Line]) -> list[Span]:
    return [span for span in _spans(lines) if span[1] > lines[-1]["step"] * (1 - END)]


def _mean(spans: Sequence[Span], name: str) -> float:
    """The mean over steps: a line for more steps counts for more."""
    known = [(end - begin, _number(line[name])) for begin, end, line in spans if name in line]
    return sum(steps * value for steps, value in known) / sum(steps for steps, _ in known)


def _number(value: float | None) -> float:
    """One that is not finite is null in JSON."""
    return math.nan if value is None else float(value)


def _curve(lines: Sequence[Line], name: str) -> Curve:
    """At most `POINTS` points, each the mean of equally many lines."""
    spans = [span for span in _spans(lines) if name in span[2]]
    size = math.ceil(len(spans) / POINTS)
    groups = [spans[start : start + size] for start in range(0, len(spans), size)]
    # The steps that are left over for the last point may be few, and their mean all noise.
    if len(groups) > 2 and _steps(groups[-1]) < _steps(groups[-2]) / 2:
        groups[-2:] = [groups[-2] + groups[-1]]
    return tuple((group[-1][1], _mean(group, name)) for group in groups)


def _steps(spans: Sequence[Span]) -> int:
    return spans[-1][1] - spans[0][0]


def _order(run: Path, last: int) -> tuple[str, Curve]:
    """How hard the pairs of each step were, up to step `last`."""
    path = run / "order.parquet"
    if not path.exists():
        return "", ()
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name != "pair"]
        batches = file.iter_batches(columns=columns)
        rows = [row for batch in batches for row in batch.to_pylist() if row["step"] <= last]
    by = "tier" if any(row["tier"] for row in rows) else "margin"
    by = "score" if "score" in columns else by
    known: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row[by] is not None:
            known[row["step"]].append(row[by])
    if len({value for values in known.values() for value in values}) < 2:
        return by, ()
    return by, _curve([{"step": step, by: fmean(known[step])} for step in sorted(known)], by)
