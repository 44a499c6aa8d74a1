"""`cpt judge`: how a judge agrees with the labels of pairs, and how it is biased."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpt.cli.judged_pairs import REDO, claim
from cpt.cli.judging_command import UNJUDGED, JudgingCommand, folder_option, judging_of, make_folder
from cpt.cli.printing.output import echo, json_option, left_to_ask, print_json, summed_up
from cpt.errors import BadData, CptError

if TYPE_CHECKING:
    from cpt.matches.labelled import Labelled
    from cpt.matches.validation import Validation
    from cpt.statistics import JudgementCounts


@click.pass_context
def _judge(
    ctx: click.Context,
    /,
    source: str,
    output: Path | None,
    limit: int | None,
    as_json: bool,
    redo: bool,
    **values: Any,
) -> None:
    from cpt.matches.validation import JUDGEMENTS, validate
    from cpt.run.execute import check

    judging = judging_of(ctx, values)
    judge = judging.judge
    if judge is None:
        raise CptError("--judge must be given: whose verdicts should be compared with the labels?")
    check(judge)
    # Counted first: a broken row is found before anything is paid.
    unusable, total = _counted(source, limit)
    folder = output or Path("runs", f"judge-{judge.name}")
    make_folder(folder)
    claim(folder, source, redo)
    found = validate(judge, _labelled(source, limit), folder, judging.asking, total)
    if as_json:
        print_json(_plain(found, unusable) | {"judge": judge.name, "output": str(folder)})
    else:
        for line in _lines(found, unusable):
            echo(line)
        echo(f"in {folder / JUDGEMENTS}")
    if left := found.asked["unfinished"]:
        all_rejected = found.reasons.keys() == {"rejected"} and not found.counts.judged
        echo(f"cpt: {left_to_ask(left, found.example if all_rejected else '')}", err=True)
        sys.exit(UNJUDGED)
    if not found.counts.judged:
        raise CptError(
            f"cpt judge: no verdict on any of {found.counts.unparsed} pairs "
            f"({summed_up(found.reasons)}), so there is nothing to compare with their labels."
        )


def _counted(source: str, limit: int | None) -> tuple[Counter[str], int]:
    """Rows that give nothing to judge, by reason, and how many do. Raises `BadData`."""
    from cpt.matches.labelled import Labelled, each_labelled

    unusable, total = Counter[str](), 0
    for row in islice(each_labelled(source), limit):
        if isinstance(row, Labelled):
            total += 1
        else:
            unusable[row.reason] += 1
    if not total:
        raise BadData(f"{source}: no pair of answers in it ({summed_up(unusable)}).")
    return unusable, total


def _labelled(source: str, limit: int | None) -> Iterator[Labelled]:
    from cpt.matches.labelled import Labelled, each_labelled

    return (row for row in islice(each_labelled(source), limit) if isinstance(row, Labelled))


def _plain(found: Validation, unusable: Mapping[str, int]) -> dict[str, Any]:
    asked = {name: found.asked[name] for name in ("requests", "from_journal", "unfinished", "cost")}
    return {
        **found.counts.plain(),
        "reasons": dict(found.reasons),
        "unusable": dict(unusable),
        **asked,
    }


def _lines(found: Validation, unusable: Mapping[str, int]) -> Iterator[str]:
    counts = found.counts
    yield f"judged {counts.judged} pairs, {counts.labelled} of them with a label"
    yield from _against_labels(counts)
    yield from _biases(counts)
    if counts.unparsed:
        example = f"; for example: {found.example}" if found.example else ""
        yield f"unparsed {counts.unparsed} ({summed_up(found.reasons)}){example}"
    if unusable:
        yield f"left out: {summed_up(unusable)}"
    yield summed_up({name: found.asked[name] for name in ("requests", "from_journal", "cost")})


def _against_labels(counts: JudgementCounts) -> Iterator[str]:
    if counts.agreement is None or counts.agreement_interval is None:
        return
    low, high = counts.agreement_interval
    kappa = "" if counts.kappa is None else f", kappa {counts.kappa:.3f}"
    yield f"agreement {counts.agreement:.1%} [{low:.1%}, {high:.1%}]{kappa}"
    if counts.longer_wins is not None:
        yield f'length alone: "the longer one wins" agrees in {counts.longer_wins:.1%}'


def _biases(counts: JudgementCounts) -> Iterator[str]:
    if counts.longer_preferred is not None:
        yield f"length: the judge prefers the longer answer in {counts.longer_preferred:.1%}"
    if counts.position_bias is not None:
        flips = "" if counts.flips is None else f"; {counts.flips:.1%} flip with the order"
        yield f"position: the answer shown first wins {counts.position_bias:.1%}{flips}"


judge = JudgingCommand(
    "judge",
    callback=_judge,
    help="Judge pairs again, and compare the verdicts with the pairs' own labels.\n\n"
    "PAIRS is a file of pairs, a run folder, or stored judgements in AlpacaEval's form. What the "
    "judge says is kept in the folder --output, and asked once.",
    short_help="How a judge agrees with the labels of pairs, and how it is biased.",
    params=[
        click.Argument(["source"], metavar="PAIRS"),
        folder_option("The folder for judgements.jsonl and answers. [runs/judge-NAME]"),
        click.Option(["--limit"], type=click.IntRange(1), help="Judge only the first so many."),
        json_option(),
        REDO,
    ],
)
