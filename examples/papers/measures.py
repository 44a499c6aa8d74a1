"""The numbers of a claim: what each row of its table has in the folder of each seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import cpt

SCORES = ("judged/sampled", "judged/greedy")
PAIRS = "pairs"
SIDES = ("logratios/chosen", "logratios/rejected")

Numbers = Mapping[str, float]
"""The values of one row for one seed, by column."""


def columns_of(claim: Mapping[str, Any]) -> Sequence[str]:
    if claim.get("likelihoods"):
        return SIDES
    return claim.get("figures") or claim.get("columns") or SCORES


def measured(claim: Mapping[str, Any], folder: Path, row: str) -> Numbers | None:
    """What a row has in the folder of a seed; None where its step is not done."""
    step, _, model = row.partition("/")
    if not (folder / f"{step}.done").exists():
        return None
    if claim.get("likelihoods"):
        return _last(curves(folder / row)) | _pairs(folder / row)
    if "figures" in claim:
        return _figures(claim, folder / f"{step}.json")
    return _scores(claim, folder / step, model) | _pairs(folder / step)


def _figures(claim: Mapping[str, Any], file: Path) -> dict[str, float]:
    """Figures that `cpt doctor` or `cpt judge` printed about all pairs."""
    plain = json.loads(file.read_text())
    found = plain | plain.get("contrast", {})
    figures = {name: found[name] for name in claim["figures"] if name in found}
    return figures | {PAIRS: plain.get("judged", plain.get("pairs"))}


def _scores(claim: Mapping[str, Any], run: Path, model: str) -> dict[str, float]:
    """The changes of scores from the model before training."""
    scores = cpt.open_run(run).scores
    return {
        name: scores[model][name].value - scores["before"][name].value
        for name in columns_of(claim)
        if name in scores[model]
    }


def _pairs(run: Path) -> dict[str, float]:
    """How many pairs a run has, if it has any."""
    summary = cpt.open_run(run).stages.get("pairs", {}).get("summary", {})
    return {PAIRS: summary["pairs"]} if "pairs" in summary else {}


def curves(run: Path) -> Mapping[str, Sequence[tuple[float, float]]]:
    """The log-ratio of each side at each step."""
    lines = list(cpt.open_run(run).metrics)
    return {
        side: [(line["step"], line[side]) for line in lines if line.get(side) is not None]
        for side in SIDES
    }


def _last(found: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """The mean of each curve over its last tenth."""
    return {
        side: fmean(value for _, value in points[-max(1, len(points) // 10) :])
        for side, points in found.items()
    }
