"""`cpt winrate`: how often a model's answers are preferred, from stored annotations or a judge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cpt.cli.judging_command import (
    UNJUDGED,
    Judging,
    JudgingCommand,
    folder_option,
    judging_of,
    make_folder,
)
from cpt.cli.printing.output import echo, json_option, print_json
from cpt.errors import BadData, CptError

if TYPE_CHECKING:
    from cpt.data import Annotation
    from cpt.matches import Control, Figures


@click.pass_context
def _winrate(
    ctx: click.Context,
    /,
    files: Sequence[Path],
    outputs: str | None,
    reference: str | None,
    output: Path | None,
    model: str | None,
    merge: bool,
    as_json: bool,
    difficulty: str | None,
    regularizer: str | None,
    weights: str | None,
    **values: Any,
) -> None:
    from cpt.matches import figures

    control, unfinished = _control(difficulty, regularizer, weights), 0
    if outputs or reference:
        _refuse(bool(files), "stored annotations are not judged again: leave FILE out")
        judging = judging_of(ctx, values)
        judged, unfinished = _judge(judging, outputs, reference, output)
        sets = {str(outputs): judged}
    else:
        _refuse(not files, "which annotations? Give a FILE, or --outputs, --reference and --judge")
        sets = _stored(files, model, merge)
        if output is not None:
            _write(output, sets)
    found = {name: figures(annotations, control) for name, annotations in sets.items()}
    differences = _differences(sets)
    if as_json:
        print_json(_plain(found, differences))
    else:
        for name, one in found.items():
            _print(name, one)
        for line in map(_difference_line, differences):
            echo(line)
    if unfinished:
        echo(
            f"cpt: {unfinished} requests have no answer yet; the same command continues.", err=True
        )
        sys.exit(UNJUDGED)


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise CptError(f"cpt winrate: {why}.")


def _control(difficulty: str | None, regularizer: str | None, weights: str | None) -> Control:
    from cpt.data import read_difficulties, read_regularizer
    from cpt.matches import Control

    return Control(
        difficulty=read_difficulties(difficulty) if difficulty else None,
        regularizer=read_regularizer(regularizer) if regularizer else None,
        weights=_weights(weights) if weights else None,
    )


def _weights(text: str) -> tuple[float, float, float]:
    from math import isfinite

    try:
        w_t, w_d, w_m = (float(part) for part in text.split(","))
    except ValueError:
        w_t = w_d = w_m = float("nan")
    if not all(map(isfinite, (w_t, w_d, w_m))):
        raise CptError(f"--weights {text}: expected three numbers, w_t,w_d,w_m.")
    return w_t, w_d, w_m


def _stored(files: Sequence[Path], model: str | None, merge: bool) -> dict[str, list[Annotation]]:
    """The annotations of each file, or of all together."""
    from cpt.data import merged, read_annotations

    sets = {str(file): read_annotations(file, model) for file in files}
    return {" + ".join(sets): merged(list(sets.values()))} if merge else sets


def _write(output: Path, sets: dict[str, list[Annotation]]) -> None:
    from cpt.data import write_annotations

    _refuse(len(sets) > 1, "--output takes one set of annotations: add --merge, or give one FILE")
    make_folder(output)
    for found in sets.values():
        write_annotations(output / "annotations.json", found)


# Asking a judge


def _judge(
    judging: Judging, outputs: str | None, reference: str | None, output: Path | None
) -> tuple[list[Annotation], int]:
    """Judge answers against those of a reference, and keep everything in the folder `output`.

    Also how many requests are unfinished.
    """
    from cpt.data import write_annotations, write_outputs
    from cpt.matches.answers import matched
    from cpt.matches.asked import annotate
    from cpt.run.execute import check

    if outputs is None or reference is None or judging.judge is None or output is None:
        raise CptError("cpt winrate: --outputs needs --reference, --judge and --output, too.")
    answers = matched(outputs, reference)
    check(judging.judge)
    make_folder(output)
    journal = output / "journal.sqlite"
    found, unfinished = annotate(judging.judge, answers, journal, judging.asking)
    write_outputs(output / "model_outputs.json", ((one.prompt, one.model) for one in answers))
    write_annotations(output / "annotations.json", found)
    return found, unfinished


# What is printed


def _plain(found: dict[str, Figures], differences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One object: the figures of the one file, or those of several and how they differ."""
    if len(found) == 1:
        return attrs.asdict(next(iter(found.values())))
    files = {name: attrs.asdict(one) for name, one in found.items()}
    return {"files": files, "differences": list(differences)}


def _differences(sets: dict[str, list[Annotation]]) -> list[dict[str, Any]]:
    """The first set minus each other one, over the prompts that both have."""
    from cpt.statistics import difference

    first, *others = sets
    scores = {name: _score(annotations) for name, annotations in sets.items()}
    found = []
    for other in others:
        gap = difference(scores[first], scores[other], comparisons=len(others))
        _refuse(gap is None, f"{first} and {other} share no prompt: they cannot be compared")
        assert gap is not None
        ends = {"low": gap.low, "high": gap.high}
        found.append({"of": first, "minus": other, "value": gap.value, **ends, "n": gap.n})
    return found


def _score(annotations: Sequence[Annotation]) -> Any:
    from cpt.types import Score

    known = {
        one.key if one.key is not None else str(place): 100 * one.win
        for place, one in enumerate(annotations)
        if one.win is not None
    }
    if not known:
        raise BadData(f"none of {len(annotations)} annotations has a preference.")
    return Score.mean(known)


def _print(name: str, one: Figures) -> None:
    echo(name)
    missing = f", {one.n_missing} without a preference" if one.n_missing else ""
    count = f"{one.n_wins} won, {one.n_wins_base} lost, {one.n_draws} drawn of {one.n_total}"
    _line("win rate", one.win_rate, one.interval, f"{count}{missing}")
    _line("discrete", one.discrete_win_rate, None)
    _line("length-controlled", one.length_controlled_winrate, one.lc_interval, one.lc_note)
    _line("length-adjusted", one.length_adjusted_winrate, one.length_adjusted_interval)
    _line("style-controlled", one.style_controlled_winrate, one.style_controlled_interval)
    _line("weighted", one.weighted_win_rate, one.weighted_interval)
    longer = one.longer_preferred
    said = f"the longer answer won {longer:.1f}% of the decided ones" if longer is not None else ""
    _line("length alone", one.length_only, None, said)
    _line("shown first", one.shown_first, None)
    _line("shown second", one.shown_second, None)


def _line(
    label: str, value: float | None, interval: tuple[float, float] | None, note: str = ""
) -> None:
    if value is None and not note:
        return
    number = f"{value:6.2f}%" if value is not None else f"{'-':>7}"
    ends = f"[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    echo(f"  {label:<18} {number}  {ends:<16} {note}".rstrip())


def _difference_line(gap: dict[str, Any]) -> str:
    return (
        f"{gap['of']} minus {gap['minus']}: {gap['value']:+.2f} [{gap['low']:.2f}, "
        f"{gap['high']:.2f}] over {gap['n']} prompts"
    )


winrate = JudgingCommand(
    "winrate",
    callback=_winrate,
    help="How often a model's answers are preferred to a baseline's.\n\n"
    "FILE holds annotations: AlpacaEval's annotations.json, or rows with id, preference, len_1 and "
    "len_2. With --outputs, --reference and --judge, answers are judged in both orders.",
    params=[
        click.Argument(["files"], nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path)),
        click.Option(["--difficulty"], metavar="FILE", help="AlpacaEval's instruction_difficulty."),
        click.Option(["--regularizer"], metavar="FILE", help="Rows of AlpacaEval's gamed models."),
        click.Option(["--weights"], metavar="w_t,w_d,w_m", help="Published weights: fit nothing."),
        click.Option(["--model"], metavar="NAME", help="Whose annotations, of several in a file."),
        click.Option(["--merge"], is_flag=True, help="Take several files of one model as one."),
        click.Option(["--outputs"], metavar="FILE", help="Answers of the model, to be judged."),
        click.Option(["--reference"], metavar="FILE", help="Answers of the baseline."),
        folder_option("The folder to write annotations.json into."),
        json_option(),
    ],
)
