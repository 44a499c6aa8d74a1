"""`cpt advise`: whether the chosen answers are better than what the model says, before training."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cpt import paths
from cpt.cli.judging_command import (
    UNJUDGED,
    Comparing,
    JudgingCommand,
    folder_option,
    judging_of,
    make_folder,
)
from cpt.cli.printing.output import echo, json_option, print_json, summed_up
from cpt.errors import BadData, CptError
from cpt.plugins.registry import Registry

if TYPE_CHECKING:
    from cpt.matches import Advice
    from cpt.roles import Judge, Responder
    from cpt.types import Pair

SAMPLE = 100


@click.pass_context
def _advise(
    ctx: click.Context,
    /,
    source: str,
    output: Path | None,
    sample: int,
    as_json: bool,
    **values: Any,
) -> None:
    from cpt.data import Annotation, write_annotations
    from cpt.matches import advice_of
    from cpt.matches.asked import annotate_own
    from cpt.run.execute import check

    asked = judging_of(ctx, values)
    assert isinstance(asked, Comparing)
    judge, student = _judge(asked), _student(asked)
    check((judge, student))
    pairs = _sample(source, sample)
    folder = output or Path("runs", f"advice-{judge.name}")
    make_folder(folder)
    found, stats = annotate_own(judge, student, pairs, folder / "journal.sqlite", asked.asking)
    annotations = [one for one in found if isinstance(one, Annotation)]
    write_annotations(folder / "annotations.json", annotations)
    advice = advice_of(found)
    losses = _losses(ctx, advice)
    took = {name: stats.plain()[name] for name in ("requests", "from_journal", "cost")}
    if as_json:
        loss = losses[0] if losses else None
        about = {"loss": loss, "losses": losses, "judge": judge.name, "model": student.author}
        print_json({**attrs.asdict(advice), **about, **took, "output": str(folder)})
    else:
        for line in (*_lines(advice, losses), summed_up(took), f"in {folder}"):
            echo(line)
    if stats.unfinished:
        left = stats.unfinished
        echo(f"cpt: {left} requests have no answer yet; the same command continues.", err=True)
        sys.exit(UNJUDGED)


def _judge(asked: Comparing) -> Judge:
    if asked.judge is None:
        raise CptError("--judge must be given: who says which of two answers is better?")
    return asked.judge


def _student(asked: Comparing) -> Responder:
    if asked.model is None or asked.generator is None:
        raise CptError("--model must be given: whose own answers are the chosen ones compared to?")
    return asked.generator.with_options(model=paths.resolve(asked.model))


def _sample(source: str, size: int) -> list[Pair]:
    """The pairs to judge. Raises `BadData`."""
    from cpt.data import each_pair
    from cpt.matches.advice import sample_of

    pairs = sample_of(each_pair(paths.resolve(source)), size)
    if not pairs:
        raise BadData(f"{source}: no pair in it has a chosen answer.")
    return pairs


def _losses(ctx: click.Context, advice: Advice) -> list[str]:
    """The losses that are made for such chosen answers, by name."""
    from cpt.roles import Loss

    registry = ctx.find_object(Registry)
    assert registry is not None
    offered = {name: registry["loss", name] for name in registry.names("loss")}
    return [
        name
        for name, loss in offered.items()
        if issubclass(loss, Loss) and loss.suits == advice.chosen
    ]


def _lines(advice: Advice, losses: Sequence[str]) -> Iterator[str]:
    yield _finding(advice, losses)
    yield f"{advice.won} won, {advice.lost} lost, {advice.drawn} drawn of {advice.of} prompts"
    yield from _lengths(advice)
    if advice.missing:
        yield f"not judged: {_counts(advice.missing)}"


def _finding(advice: Advice, losses: Sequence[str]) -> str:
    if advice.win_rate is None:
        return "not clear: no answer was judged"
    rate = f"{advice.win_rate:.1f}% [{advice.low:.1f}, {advice.high:.1f}]"
    said = f"preferred to the model's own in {rate}"
    if advice.chosen == "not clear":
        return f"not clear: the chosen answers are {said}; a larger --sample may tell"
    named = " or ".join(f"--loss {name}" for name in losses) or "no loss here is made for that"
    return f"the chosen answers are {advice.chosen}: {said}; {named}"


def _lengths(advice: Advice) -> Iterator[str]:
    """Judges like length: a reader should know which side had more of it."""
    if advice.chosen_characters is not None and advice.own_characters is not None:
        yield (
            f"characters: {advice.chosen_characters:.0f} in a chosen answer, "
            f"{advice.own_characters:.0f} in the model's own; `cpt winrate annotations.json` there "
            "has the rate at equal length"
        )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


advise = JudgingCommand(
    "advise",
    callback=_advise,
    options=Comparing,
    help="Say whether the chosen answers of PAIRS are better than the model's own.\n\n"
    "For a sample of the prompts the model answers, and a judge compares its answer with the "
    "chosen one in both orders. That decides which loss suits the pairs. Every answer is kept in "
    "the folder --output, and asked once.",
    short_help="Which loss suits pairs: are the chosen answers better than the model's own?",
    params=[
        click.Argument(["source"], metavar="PAIRS"),
        click.Option(
            ["--sample"],
            type=click.IntRange(1),
            default=SAMPLE,
            help=f"Prompts to ask at most. [{SAMPLE}]",
        ),
        folder_option("The folder for annotations.json and answers. [runs/advice-NAME]"),
        json_option(),
    ],
)
