"""What a command says on standard output when it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from cpt.run.folder import Folder


def tell(folder: Folder, as_json: bool) -> None:
    """Say what is in the folder now."""
    stages = folder.record["stages"]
    scores = _scores(folder)
    if as_json:
        done = {name: stage.get("summary", {}) for name, stage in stages.items()}
        click.echo(json.dumps({"output": str(folder.path), "stages": done, **scores}))
        return
    for name, stage in stages.items():
        click.echo(f"{name:<9} {_listed(stage.get('summary', {}))}")
    if scores:
        table(scores)
    click.echo(f"{'in':<9} {folder.path}")


def _scores(folder: Folder) -> dict[str, Any]:
    file = folder.path / "scores.json"
    if not file.exists():
        return {}
    plain: dict[str, Any] = json.loads(file.read_text())
    for named in plain["scores"].values():
        for score in named.values():
            score.pop("each")
    return plain


def table(scores: Mapping[str, Any]) -> None:
    """Every score with its 95% interval, and its change from `before` prompt by prompt."""
    from rich.console import Console
    from rich.table import Table

    names = list(dict.fromkeys(name for named in scores["scores"].values() for name in named))
    shown = Table(title="Scores, and changes from `before` prompt by prompt (95% intervals)")
    shown.add_column("")
    for name in names:
        shown.add_column(name, justify="right")
        shown.add_column("change", justify="right")
    for who, named in scores["scores"].items():
        shown.add_row(who, *_cells(names, named, scores["change"][who]))
    Console(soft_wrap=True).print(shown)


def _cells(names: list[str], named: Mapping[str, Any], change: Mapping[str, Any]) -> Iterator[str]:
    for name in names:
        yield _interval(named[name], sign="") if name in named else ""
        yield _interval(change[name], sign="+") if name in change else ""


def _interval(score: Mapping[str, float], sign: str) -> str:
    half = (score["high"] - score["low"]) / 2
    return f"{score['value']:{sign}.3f} ± {half:.3f}"


def _listed(summary: Mapping[str, Any]) -> str:
    parts = []
    for name, value in summary.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f"{count} {reason}" for reason, count in value.items())
            value = f"({inner})" if inner else "none"
        parts.append(f"{name} {value}")
    return ", ".join(parts)
