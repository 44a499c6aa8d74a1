"""The page of results: for each claim a table, a plot and a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measures import PAIRS, columns_of, curves, measured
from tables import Rows, cell, differences, estimate, span, table, verdict

from cpt.report.formatting import MINUS

if TYPE_CHECKING:
    from run import Form, Plan

STYLE = """
svg { font: 11px system-ui, sans-serif; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.label { fill: #59626d; } .axis { stroke: #8a939e; } .zero { stroke: #8a939e; }
.grid { stroke: #8a939e; stroke-opacity: .3; stroke-width: .75; } .interval { stroke-width: 2; }
.interval, .dot { stroke: #0072b2; } .dot { fill: #0072b2; }
.curve { fill: none; stroke-width: 1.8; } .curve.first { stroke: #0072b2; }
.curve.second { stroke: #c04d00; stroke-dasharray: 5 3; }
.mark.first { fill: #0072b2; } .mark.second { fill: #c04d00; }
@media (prefers-color-scheme: dark) {
  .label { fill: #a3abb5; } .interval, .dot, .curve.first { stroke: #56b4e9; }
  .dot, .mark.first { fill: #56b4e9; }
  .curve.second { stroke: #e69f00; } .mark.second { fill: #e69f00; }
}
"""
HEAD = """\
# What the lab says about the papers

*Written by `examples/papers/run.py` from what it measured.*

{about}

Changes are those of the checker's score (0 to 1) on held-out prompts, sampled at temperature 1 \
and greedy, from the model before training. A value is the mean over seeds with its 95% interval \
by Student's t; with few seeds this is wide, and a claim stays open. Learning rates are those of \
the lab's preset, not tuned for each loss; `slic` and `kto` have the rate of DPO. What the lab can \
and cannot show: [the lab](../explanation/lab.md).
"""
QUICK = """\
The seeds share one lab: they differ in what is sampled and in the order of the pairs, not in how \
the lab's models were trained, so that intervals are narrower than with labs of their own.
"""


def write_page(plan: Plan, form: Form, root: Path, page: Path) -> None:
    """Write the page, with its plots beside it, from what is done in the folder of a form."""
    page.parent.mkdir(parents=True, exist_ok=True)
    parts = [HEAD.format(about=_about(plan, form, root))]
    parts += [] if "{seed}" in form.lab else [QUICK]
    gathered = {name: gather(claim, form, root) for name, claim in plan.claims.items()}
    parts.append(_summary(plan, gathered))
    for name, claim in plan.claims.items():
        parts.append(section(claim, gathered[name]))
        if image := plot(claim, gathered[name], form, root):
            page.with_name(f"{name}.svg").write_text(image + "\n")
            parts.append(f"![{claim['title']}]({name}.svg)\n")
        elif page.with_name(f"{name}.svg").exists():
            page.with_name(f"{name}.svg").unlink()
    page.write_text("\n".join(part for part in parts if part))


def _summary(plan: Plan, gathered: Mapping[str, Rows]) -> str:
    """What came of each claim, in a few words."""
    lines = {}
    for name, claim in plan.claims.items():
        found, _, counts = _verdict(claim, gathered[name]).rstrip(".").partition(": ")
        seeds = min(map(len, gathered[name].values()))
        lines[claim["title"]] = [found, f"arXiv {claim['source']}", seeds, counts]
    return table("claim", ["in the lab", "of", "seeds", "differences"], lines)


def gather(claim: Mapping[str, Any], form: Form, root: Path) -> Rows:
    """The values of every row, by seed, as far as they are there."""
    return {
        label: {
            seed: found
            for seed in form.seeds
            if (found := measured(claim, root / f"seed-{seed}", row)) is not None
        }
        for label, row in claim["rows"].items()
    }


def section(claim: Mapping[str, Any], rows: Rows) -> str:
    """A claim, whether it holds, and its numbers."""
    source = claim["source"]
    said = f"The claim, after [arXiv {source}](https://arxiv.org/abs/{source}): {claim['says']}"
    parts = [f"## {claim['title']}\n", f"{said}\n", f"**{_verdict(claim, rows)}**\n"]
    if "note" in claim:
        parts.append(f"{claim['note']}\n")
    if any(rows.values()):
        parts += [_values(claim, rows), _differences(claim, rows)]
    return "\n".join(parts)


def _expected(claim: Mapping[str, Any]) -> Iterator[tuple[str | float, str | float, list[str]]]:
    """What is claimed to be above what, and in which columns."""
    for more, than, *column in claim["expect"]:
        yield more, than, column or claim.get("compare") or list(columns_of(claim))


def _verdict(claim: Mapping[str, Any], rows: Rows) -> str:
    return verdict(
        [
            differences(rows, more, than, column)
            for more, than, columns in _expected(claim)
            for column in columns
        ]
    )


def _values(claim: Mapping[str, Any], rows: Rows) -> str:
    columns = columns_of(claim)
    lines = {
        row: [*(cell(rows, row, one) for one in columns), span(rows, row, PAIRS), len(rows[row])]
        for row in rows
    }
    return table("", [*(f"`{one}`" for one in columns), PAIRS, "seeds"], lines)


def _differences(claim: Mapping[str, Any], rows: Rows) -> str:
    """The claimed differences, each with its interval."""
    columns = list(dict.fromkeys(one for *_, mine in _expected(claim) for one in mine))
    lines = {
        f"{more} {MINUS} {than}": [
            estimate(differences(rows, more, than, one)) if one in mine else None for one in columns
        ]
        for more, than, mine in _expected(claim)
    }
    return table("difference", [f"`{one}`" for one in columns], lines)


def plot(claim: Mapping[str, Any], rows: Rows, form: Form, root: Path) -> str | None:
    """The rows with their intervals, or curves over the training; None where nothing is done."""
    from cpt.report.plots import Panel, intervals, lines

    if not any(rows.values()):
        return None
    if claim.get("likelihoods"):
        label, first = next(iter(claim["rows"].items()))
        if form.seeds[0] not in rows[label]:
            return None
        found = curves(root / f"seed-{form.seeds[0]}" / first)
        names = {side.removeprefix("logratios/"): points for side, points in found.items()}
        return standalone(lines(names, "step", "log-ratio, nats", claim["title"], zero=True))
    present = [row for row in rows if rows[row]]
    panels = [
        Panel(
            one.rpartition("/")[2],
            [found.ends if (found := cell(rows, row, one)) else None for row in present],
            zero="figures" not in claim,
        )
        for one in columns_of(claim)[:2]
    ]
    return standalone(intervals([(row, "") for row in present], panels, claim["title"]))


def standalone(markup: str) -> str:
    """A plot of the report as an image file of its own."""
    head, _, rest = markup.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}'


def _about(plan: Plan, form: Form, root: Path) -> str:
    """The command, the seeds, and when and how long the run was."""
    notes = list(_notes(root, form.seeds))
    flag = {"quick": " --quick", "whole": ""}.get(form.name, f" --form {form.name}")
    if form.seeds != plan.forms[form.name].seeds:
        flag += f" --seeds {len(form.seeds)}"
    seeds = ", ".join(map(str, form.seeds))
    return (
        f"`python examples/papers/run.py{flag}`, the {form.name} form: seeds {seeds}; pairs of "
        f"{form.limit:,} prompts, models measured on {form.eval_limit:,}. Each table says how many "
        f"seeds a row has. {_when(notes)}"
    )


def _notes(root: Path, seeds: Iterable[int]) -> Iterator[Mapping[str, float]]:
    for seed in seeds:
        for path in (root / f"seed-{seed}").glob("*.done"):
            yield json.loads(path.read_text())


def _when(notes: list[Mapping[str, float]]) -> str:
    if not notes:
        return "Nothing is done yet."
    began = min(note["began"] for note in notes)
    clock = max(note["began"] + note["seconds"] for note in notes) - began
    cpu = sum(note["cpu"] for note in notes)
    return (
        f"Begun on {datetime.fromtimestamp(began, UTC):%Y-%m-%d at %H:%M} UTC; {len(notes)} steps, "
        f"{cpu / 60:.0f} minutes of CPU time, {clock / 60:.0f} minutes from the first to the last."
    )
