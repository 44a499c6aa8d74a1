"""`cpt doctor`: what is wrong with pairs, before they are trained on."""

from __future__ import annotations

from typing import Any

import attrs
import click

from cpt import paths
from cpt.cli.command import PipelineCommand, prepare
from cpt.cli.printing.output import LONGEST_NAME, echo, json_option, print_json
from cpt.errors import CptError, shortened

MOST_SHOWN = 5


@click.pass_context
def _doctor(ctx: click.Context, /, source: str, as_json: bool, **values: Any) -> None:
    from cpt.data import Unusable, pairs_and_unusable
    from cpt.models import folder_of, load_tokenizer
    from cpt.training.data.findings import DROPPED, NOTED, Finding
    from cpt.training.data.prepare import examine
    from cpt.training.forward.loading import vocabulary, within_positions

    config = prepare(ctx, values | {"pairs": source}).config
    if config.model is None:
        raise CptError("--model must be given: whose tokenizer and chat template are meant?")
    folder = folder_of(config.model)
    rows = list(pairs_and_unusable(paths.resolve(source)))
    pairs = [row for row in rows if not isinstance(row, Unusable)]
    unusable = [row for row in rows if isinstance(row, Unusable)]
    options = within_positions(config.train, folder)
    trust = options.trust_remote_code
    tokenizer = load_tokenizer(folder, trust_remote_code=trust)
    report = examine(pairs, tokenizer, options, vocabulary(folder, trust_remote_code=trust))
    findings = [Finding(row.id, row.reason, row.detail) for row in unusable]
    report = attrs.evolve(report, pairs=len(rows), findings=(*findings, *report.findings))
    if as_json:
        print_json(attrs.asdict(report) | {"counts": report.counts})
        return
    echo(f"{report.pairs} pairs, {report.kept} can be trained on.")
    for problem, count in report.counts.items():
        ids = [finding.pair for finding in report.findings if finding.problem == problem]
        more = ", ..." if count > MOST_SHOWN else ""
        what = "dropped" if problem in DROPPED else "kept"
        meaning = {**DROPPED, **NOTED}[problem]
        echo(f"{count:>7} {what}: {problem} - {meaning}")
        named = ", ".join(shortened(name, LONGEST_NAME) for name in ids[:MOST_SHOWN])
        echo(f"{'':>16}{named}{more}")
    echo(
        f"Tokens: prompt {report.prompt_tokens:.0f}, chosen {report.chosen_tokens:.0f}, "
        f"rejected {report.rejected_tokens:.0f} on average; longest {report.longest}. "
        f"The chosen answer is the longer one in {report.chosen_longer:.0%} of the pairs."
    )


doctor = PipelineCommand(
    "doctor",
    callback=_doctor,
    help="Report what is wrong with pairs, and which training would drop.",
    shows=frozenset({"model", "train"}),
    default_preset=False,  # it would fill in a model
    params=[
        click.Argument(["source"], metavar="PAIRS"),
        json_option(),
    ],
)
