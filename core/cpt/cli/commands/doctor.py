"""`cpt doctor`: what is wrong with pairs, before they are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import attrs
import click

from cpt import paths
from cpt.cli.pipeline_command import PipelineCommand, prepare
from cpt.cli.printing.output import LONGEST_NAME, echo, json_option, print_json
from cpt.contrast import Tokens
from cpt.errors import CptError, shortened

if TYPE_CHECKING:
    from cpt.config import Config
    from cpt.training.data.checks.checkup import Checkup
    from cpt.training.data.findings import Diagnosis, Finding

MOST_SOURCES = 10
"""Sources that are printed."""


@click.pass_context
def _doctor(
    ctx: click.Context,
    /,
    source: str,
    as_json: bool,
    fix: Path | None,
    show: str | None,
    jaccard_of: Tokens,
    levenshtein_of: Tokens,
    **values: Any,
) -> None:
    from cpt.data import refuse_to_replace
    from cpt.models import folder_of
    from cpt.run.examining.examiner import Examiner, examine_source

    config = prepare(ctx, values | {"pairs": source}).config
    source = paths.resolve(source)
    if show is not None:
        _show(source, show, config, as_json)
        return
    if fix is not None:
        refuse_to_replace(fix, source, "pairs")
    examiner = Examiner(
        train=config.train,
        model=None if config.model is None else folder_of(config.model),
        eval_prompts=config.eval_prompts and paths.resolve(config.eval_prompts),
        jaccard_of=jaccard_of,
        levenshtein_of=levenshtein_of,
    )
    checkup, found = examine_source(source, examiner)
    severity = found.severities(config.train.allow)
    fixed = _fixed(source, fix, checkup) if fix else None
    if as_json:
        print_json(_plain(found, severity) | ({} if fixed is None else {"fixed": fixed}))
    else:
        _print(found, severity)
    if fixed is not None and not as_json:
        echo(f"{fix}: {fixed} pairs that have no error and no warning.")
    if "error" in severity.values():
        ctx.exit(CptError.exit_code)


def _fixed(source: str, path: Path, checkup: Checkup) -> int:
    """Write the pairs that have no fault, and return how many there are."""
    from cpt.data import write_subset

    return write_subset(source, path, bytes(not faulty for faulty in checkup.faulty))


def _plain(found: Diagnosis, severity: Mapping[str, str]) -> dict[str, Any]:
    return {
        "pairs": found.pairs,
        "kept": found.kept,
        "findings": dict(found.counts),
        "severity": dict(severity),
        "contrast": dict(found.contrast),
        "tokens": attrs.asdict(found.lengths) if found.lengths else None,
        "examples": [attrs.asdict(finding) for finding in found.findings],
    }


def _print(found: Diagnosis, severity: Mapping[str, str]) -> None:
    from cpt.training.kinds import KINDS

    echo(f"{found.pairs} pairs, {found.kept} can be trained on.")
    for name in sorted(found.counts, key=lambda name: SEVERITIES.index(severity[name])):
        left_out = ", dropped" if KINDS[name].dropped else ""
        echo(f"{found.counts[name]:>7} {severity[name]}{left_out}: {name} - {KINDS[name].meaning}")
        _print_examples([finding for finding in found.findings if finding.problem == name])
    _print_contrast(found)


def _print_examples(findings: list[Finding]) -> None:
    named = ", ".join(_named(finding) for finding in findings)
    echo(f"{'':>16}{named}")


def _named(finding: Finding) -> str:
    name = shortened(finding.pair, LONGEST_NAME)
    detail = shortened(finding.detail, LONGEST_NAME)
    return f"{name} ({detail})" if name and detail else name or detail


def _print_contrast(found: Diagnosis) -> None:
    if not found.contrast["pairs"]:
        return
    echo(_measures("Contrast", found.contrast))
    by_source = found.contrast["by_source"]
    for name in list(by_source)[:MOST_SOURCES] if len(by_source) > 1 else ():
        echo(_measures(f"  {shortened(name, LONGEST_NAME)}", by_source[name]))
    if (more := len(by_source) - MOST_SOURCES) > 0:
        echo(f"  and {more} more sources (--json has them all)")
    if tokens := found.lengths:
        echo(
            f"Tokens: prompt {tokens.prompt_tokens:.0f}, chosen {tokens.chosen_tokens:.0f}, "
            f"rejected {tokens.rejected_tokens:.0f} on average; longest {tokens.longest}. "
            f"The chosen answer is the longer one in {tokens.chosen_longer:.0%} of the pairs."
        )


def _measures(name: str, contrast: Mapping[str, Any]) -> str:
    ratio, auc = contrast["length_ratio"], contrast["length_auc"]
    return (
        f"{name}: Jaccard {contrast['jaccard']:.3f}, Levenshtein {contrast['levenshtein']:.0f} "
        f"(normalised {contrast['levenshtein_normalised']:.3f}), length ratio "
        f"{'unknown' if ratio is None else f'{ratio:.2f}'}, the longer side chosen in "
        f"{contrast['longer_is_chosen']:.1%}, AUC of length {auc:.2f} ({contrast['pairs']} pairs)"
    )


SEVERITIES = ("error", "warning", "note")


def _show(source: str, name: str, config: Config, as_json: bool) -> None:
    from cpt.cli.printing.tokens import print_sides, sides_of

    if config.model is None:
        raise CptError("--show prints tokens: give --model, whose tokenizer makes them.")
    sides = sides_of(source, name, config.model, config.train)
    if as_json:
        print_json({"pair": name, "sides": sides})
    else:
        print_sides(name, sides)


doctor = PipelineCommand(
    "doctor",
    callback=_doctor,
    help="Report what is wrong with pairs, and which training would drop or refuse.",
    shows=frozenset({"model", "train", "eval_prompts"}),
    default_preset=False,  # it would fill in a model
    params=[
        click.Argument(["source"], metavar="PAIRS"),
        json_option(),
        click.Option(
            ["--fix"],
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="OUT",
            help="Write the pairs without errors and warnings, with the same columns.",
        ),
        click.Option(
            ["--show"], metavar="ID", help="Print the tokens of a pair, what is trained marked."
        ),
        click.Option(
            ["--jaccard-of"],
            type=click.Choice(get_args(Tokens)),
            default="word",
            help="The tokens that Jaccard compares.",
        ),
        click.Option(
            ["--levenshtein-of"],
            type=click.Choice(get_args(Tokens)),
            default="character",
            help="The tokens that Levenshtein counts.",
        ),
    ],
)
