"""What a command says on standard output when it is done."""

from __future__ import annotations

import json
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cpt.report.read.files import read_json
from cpt.run.record.folder import Folder

if TYPE_CHECKING:
    from cpt.asking.journal.queries import Charge

MOST_NAMED = 3
WIDE = 200
"""Columns of a file or a pipe."""
WIDEST_DETAIL = 120
OUTCOMES = "outcomes.jsonl"


SHOWN = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "tokens_per_second": "tokens/s",
}
"""Metrics that a line has room for, besides those of the loss itself."""
SAME_FOR_EVERY_LOSS = ("logps/", "logratios/", "rewards/")


def conclude(folder: Folder, as_json: bool) -> None:
    """Say what is in the folder now, and make a page of it."""
    from cpt import report

    tell(folder, as_json)
    page = report.write(folder.path)
    if page and not as_json:
        click.echo(f"{'page':<9} {page}")


def tell(folder: Folder, as_json: bool) -> None:
    """Say what is in the folder now."""
    stages = folder.record["stages"]
    scores = _scores(folder)
    if as_json:
        done = {name: stage.get("summary", {}) for name, stage in stages.items()}
        paid = [attrs.asdict(charge) for charge in _charges(folder.path / "journal.sqlite")]
        plain = {"output": str(folder.path), "stages": done, "bill": paid}
        click.echo(json.dumps(plain | scores))
        return
    for name, stage in stages.items():
        click.echo(f"{name:<9} {summed_up(stage.get('summary', {}))}")
    for line in _prompts_without_pairs(folder):
        click.echo(f"{'no pair':<9} {line}")
    for line in _names_of_dropped(folder):
        click.echo(f"{'dropped':<9} {line}")
    for line in bill_lines(folder.path / "journal.sqlite"):
        click.echo(f"{'paid':<9} {line}")
    if scores:
        table(scores)
    click.echo(f"{'in':<9} {folder.path}")


def _scores(folder: Folder) -> dict[str, Any]:
    plain: dict[str, Any] = read_json(folder.path / "scores.json") or {"scores": {}}
    for named in plain["scores"].values():
        for score in named.values():
            score.pop("each")
    return plain if plain["scores"] else {}


def table(scores: Mapping[str, Any]) -> None:
    """Every score with its 95% interval, and its change from `before` prompt by prompt."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from cpt.config import BEFORE

    names = list(dict.fromkeys(name for named in scores["scores"].values() for name in named))
    shown = Table(box=SIMPLE_HEAD)
    shown.add_column("", no_wrap=True)
    for name in names:
        shown.add_column(name, justify="right", no_wrap=True)
        shown.add_column("change", justify="right", no_wrap=True)
    for who, named in scores["scores"].items():
        change = {} if who == BEFORE else scores["change"][who]
        shown.add_row(who, *_cells(names, named, change))
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(shown)
    console.print("± is half of the 95% interval; changes are taken prompt by prompt.")


def _cells(names: list[str], named: Mapping[str, Any], change: Mapping[str, Any]) -> Iterator[str]:
    for name in names:
        yield _interval(named[name], sign="") if name in named else ""
        yield _interval(change[name], sign="+") if name in change else ""


def _interval(score: Mapping[str, float], sign: str) -> str:
    half = (score["high"] - score["low"]) / 2
    return f"{score['value']:{sign}.3f} ± {half:.3f}"


def summed_up(summary: Mapping[str, Any]) -> str:
    """A stage's summary in one line: counts, with the reasons behind a count in brackets."""
    counts = ", ".join(
        f"{name} {_short(value)}" for name, value in summary.items() if name != "metrics"
    )
    return "; ".join(filter(None, (counts, in_short(summary.get("metrics", {})))))


def in_short(metrics: Mapping[str, float]) -> str:
    """The metrics that a line has room for, and those of the loss itself (`LOSS/NAME`)."""
    own = {name: name for name in metrics if "/" in name and not _is_ours(name)}
    shown = {name: label for name, label in (SHOWN | own).items() if name in metrics}
    return "  ".join(f"{label} {metrics[name]:.4g}" for name, label in shown.items())


def _is_ours(name: str) -> bool:
    return name.startswith(SAME_FOR_EVERY_LOSS)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} {_short(each)}" for name, each in value.items())
        return f"({inner})" if inner else "none"
    if value is None:
        return "unknown"
    if isinstance(value, tuple):
        return _first(value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def bill_lines(journal: Path) -> Iterator[str]:
    """What each stage paid to whom."""
    for charge in _charges(journal):
        known = "an unknown price" if charge.dollars is None else f"${charge.dollars:.4f}"
        some = charge.unpriced and charge.dollars is not None
        unknown = f", {charge.unpriced} of unknown price" if some else ""
        yield (
            f"{charge.stage}: {charge.author} {known} for {charge.answers} answers{unknown} "
            f"({charge.input_tokens} tokens in, {charge.output_tokens} out)"
        )


def _charges(journal: Path) -> list[Charge]:
    """The bill, less answers that cost nothing."""
    from cpt.asking.journal.queries import bill

    charges = bill(journal) if journal.exists() else []
    return [charge for charge in charges if charge.dollars or charge.unpriced]


def _prompts_without_pairs(folder: Folder) -> Iterator[str]:
    """Prompts that nothing was made of, by reason, a few of each by name."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    told: dict[str, str] = {}
    for outcome in _outcomes(folder):
        if not (outcome["pairs"] or outcome["dropped"]):
            by_reason[outcome["outcome"]].append(outcome["prompt_id"])
            told[outcome["outcome"]] = told.get(outcome["outcome"]) or outcome["detail"]
    for reason, prompts in by_reason.items():
        why = f"; for one: {textwrap.shorten(told[reason], WIDEST_DETAIL)}" if told[reason] else ""
        yield f"{reason}: {_first(prompts)}{why} (all in {folder.path / OUTCOMES})"


def _names_of_dropped(folder: Folder) -> Iterator[str]:
    """Pairs that were left out, by reason, a few of each by name."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for outcome in _outcomes(folder):
        for pair, reason in outcome["dropped"]:
            by_reason[reason].append(pair)
    for reason, pairs in by_reason.items():
        yield f"{reason}: {_first(pairs)} (all in {folder.path / OUTCOMES})"


def _outcomes(folder: Folder) -> Iterator[dict[str, Any]]:
    file = folder.path / OUTCOMES
    for line in file.open(encoding="utf-8") if file.exists() else ():
        yield json.loads(line)


def _first(names: Sequence[str]) -> str:
    """A few of many names."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"
