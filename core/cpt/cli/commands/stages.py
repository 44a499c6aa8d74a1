"""The commands that do the stages of a run: all of them, or one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import click

from cpt.cli.pipeline_command import DRY_RUN, DRY_TRAINING, PipelineCommand, holding, prepare
from cpt.cli.printing.estimates import print_estimates
from cpt.cli.printing.memory import print_training
from cpt.cli.printing.output import json_option
from cpt.cli.printing.summary import conclude
from cpt.cli.push import Push, push_options

if TYPE_CHECKING:
    from cpt.run.stage import Run


def pipeline_command(
    name: str,
    stages: Callable[[Run], None],
    summary: str,
    *,
    shows: str = "",
    dry: tuple[click.Option, Callable[[Run, bool], None]] | None = None,
    pushes: bool = False,
) -> PipelineCommand:
    """A command that does some stages of a run and prints what is in its folder then.

    `dry` is its `--dry-run`, and what prints that; `pushes` gives it `--push-to-hub`.
    """
    return PipelineCommand(
        name,
        callback=click.pass_context(partial(_run_command, stages, dry[1] if dry else None)),
        help=summary,
        shows=frozenset(shows.split()),
        params=[
            click.Option(["--output"], metavar="DIR", help="The run folder."),
            click.Option(["--config", "config_file"], metavar="FILE", help="Options in YAML."),
            click.Option(["--preset"], metavar="NAME", help="Options that a plugin offers."),
            json_option(),
            click.Option(["--redo"], is_flag=True, help=REDO),
            *(dry[:1] if dry else ()),
            *(push_options() if pushes else ()),
        ],
    )


def _run_command(
    stages: Callable[[Run], None],
    print_dry: Callable[[Run, bool], None] | None,
    ctx: click.Context,
    /,
    as_json: bool,
    redo: bool,
    dry_run: bool = False,
    push_to_hub: str | None = None,
    public: bool = False,
    **values: Any,
) -> None:
    """What a command does with the values on its line."""
    from cpt.run.stage import is_main

    push = Push.asked(push_to_hub, public)
    run = attrs.evolve(prepare(ctx, values), redo=redo)
    if dry_run and print_dry:
        print_dry(run, as_json)
        return
    with holding(ctx, run):
        stages(run)
        if is_main():
            conclude(run.folder, as_json)
            if push:
                push(run.folder, as_json)


def _run(run: Run) -> None:
    from cpt.run import pipeline

    pipeline.run_all(run)


def _pair(run: Run) -> None:
    from cpt.run import pipeline

    pipeline.pair(run)


def _train(run: Run) -> None:
    from cpt.run import pipeline

    pipeline.train(run)


def _evaluate(run: Run) -> None:
    from cpt.run import pipeline

    pipeline.evaluate(run)


def _dry_asking(run: Run, as_json: bool) -> None:
    from cpt.run import estimate

    print_estimates(estimate.estimate(run), as_json, estimate.uncounted(run))


def _dry_pairing(run: Run, as_json: bool) -> None:
    from cpt.run import estimate

    print_estimates(estimate.estimate_pairs(run), as_json)


def _dry_training(run: Run, as_json: bool) -> None:
    from cpt.run import estimate

    training = estimate.estimate_training(run)
    print_training(
        training,
        estimate.estimate_loss(run),
        estimate.estimate_measuring(run, training.steps),
        estimate.uncounted(run, scores=False),
        as_json,
    )


def _dry_evaluation(run: Run, as_json: bool) -> None:
    from cpt.run import estimate

    scores = estimate.estimate_scores(run)
    print_estimates(scores, as_json, estimate.uncounted(run, training=False))


REDO = (
    "Make again, in this folder, what was made with other options; answers that were paid for "
    "are kept."
)

COMMANDS = (
    pipeline_command(
        "run",
        _run,
        "Every stage, skipping what is done (also plain `cpt`).",
        dry=(DRY_RUN, _dry_asking),
        pushes=True,
    ),
    pipeline_command(
        "pair",
        _pair,
        "Make pairs from prompts, or take given ones, and filter them.",
        shows="prompts limit pairer pairs filters asking",
        dry=(DRY_RUN, _dry_pairing),
    ),
    pipeline_command(
        "train",
        _train,
        "Train a model on pairs.",
        shows="pairs filters holdout eval_pairs model scheduler loss train seed",
        dry=(DRY_TRAINING, _dry_training),
        pushes=True,
    ),
    pipeline_command(
        "eval",
        _evaluate,
        "Measure the trained model beside the one it came from.",
        shows="evaluators eval_prompts eval_pairs eval_limit generator controls",
        dry=(DRY_RUN, _dry_evaluation),
    ),
)
