"""`cpt respond`: ask one responder every prompt, and look at what the journal holds."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cpt import paths
from cpt.cli.pipeline_command import DRY_RUN, PipelineCommand, holding, prepare, run_folder
from cpt.cli.printing.estimates import print_estimates
from cpt.cli.printing.output import (
    echo,
    echo_lines,
    json_option,
    left_to_ask,
    print_json,
    summed_up,
)
from cpt.cli.printing.summary import bill_lines
from cpt.errors import BadData, CptError

if TYPE_CHECKING:
    from cpt.run.stage import Run

UNFINISHED = 1
"""Exit status if some prompt has no final outcome yet."""

LABELS = {"from_journal": "from the journal"}
"""Counts that a line names otherwise than JSON does."""


@click.pass_context
def _respond(
    ctx: click.Context,
    /,
    as_json: bool,
    status: bool,
    why: str | None,
    dry_run: bool,
    **values: Any,
) -> None:
    if status:
        _print_status(run_folder(ctx).path, as_json)
        return
    run = prepare(ctx, values)
    if why is not None:
        _print_why(run, why, as_json)
    elif dry_run:
        from cpt.run import estimate

        print_estimates(estimate.estimate_responses(run), as_json)
    else:
        with holding(ctx, run):
            _ask(run, as_json)


def _ask(run: Run, as_json: bool) -> None:
    from cpt.config import options
    from cpt.data import read_prompts
    from cpt.run.stage import require_option
    from cpt.run.stages.respond import respond

    responder = require_option(run, "responder")
    source = paths.resolve(require_option(run, "prompts"))
    responder.check()
    limit = run.config.limit
    # Counted first: a broken row is found before anything is paid, and the time left is known.
    total = sum(1 for _ in islice(read_prompts(source), limit))
    run.folder.open(options.converter(run.registry).unstructure(run.config))
    summary = respond(
        islice(read_prompts(source, checked=True), limit),
        responder,
        run.path,
        samples=run.config.samples,
        asking=run.config.asking,
        total=total,
    )
    if as_json:
        print_json(summary)
    else:
        _print_outcomes(summary)
        echo(f"in {run.path / 'responses.parquet'}")
    if left := summary["unfinished"]:
        outcomes, reasons = summary["outcomes"], summary["reasons"]
        how = " with a larger --budget" if "over_budget" in outcomes else ""
        rejected = reasons["rejected"] if outcomes == {"rejected": left} else ""
        echo(f"cpt: {left_to_ask(left, rejected, how)}", err=True)
        sys.exit(UNFINISHED)


def _print_outcomes(summary: Mapping[str, Any]) -> None:
    named = {LABELS.get(name, name): count for name, count in summary.items() if name != "reasons"}
    echo(summed_up(named))
    for outcome, why in summary["reasons"].items():
        echo(f"{outcome}, for example: {why}")


def _print_status(path: Path, as_json: bool) -> None:
    from cpt.asking.journal.queries import status

    journal = _journal(path)
    found = attrs.asdict(status(journal))
    if as_json:
        print_json(found)
        return
    echo(summed_up(found))
    for line in bill_lines(journal):
        echo(f"paid {line}")


def _journal(path: Path) -> Path:
    """Where the answers of a run are. Raises `CptError` if there are none yet."""
    journal = path / "journal.sqlite"
    if not journal.exists():
        raise CptError(f"--output {path}: nothing was asked in this folder yet.")
    return journal


def _print_why(run: Run, prompt_id: str, as_json: bool) -> None:
    from cpt.asking.journal.queries import why
    from cpt.data import read_prompts
    from cpt.run.stage import require_option

    responder = require_option(run, "responder")
    source = require_option(run, "prompts")
    for prompt in read_prompts(paths.resolve(source)):
        if prompt.id == prompt_id:
            samples = range(run.config.samples)
            reasons = [why(_journal(run.path), responder, prompt, sample) for sample in samples]
            print_json(reasons) if as_json else echo_lines("\n".join(reasons))
            return
    raise BadData(f"--why {prompt_id}: no prompt in {source} has this id.")


respond = PipelineCommand(
    "respond",
    callback=_respond,
    help="Ask one responder every prompt; what was answered before is not asked again.",
    short_help="Ask one responder every prompt.",
    shows=frozenset({"prompts", "limit", "responder", "samples", "asking"}),
    params=[
        click.Option(["--output"], metavar="DIR", help="The run folder."),
        click.Option(["--config", "config_file"], metavar="FILE", help="Options in YAML."),
        click.Option(["--status"], is_flag=True, help="Print what the journal holds; ask nothing."),
        click.Option(["--why"], metavar="ID", help="Print why there is no answer to this prompt."),
        DRY_RUN,
        json_option(),
    ],
)
