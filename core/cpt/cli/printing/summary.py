"""What a command prints of a run folder when it is done."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cpt.cli.printing.output import echo, first_of, print_json, summed_up
from cpt.cli.printing.scores import print_scores
from cpt.files import as_written, read_lines

if TYPE_CHECKING:
    from cpt.asking.journal.queries import Charge
    from cpt.run.record.folder import Folder

WIDEST_DETAIL = 120
OUTCOMES = "outcomes.jsonl"


def conclude(folder: Folder, as_json: bool) -> None:
    """Print what is in the folder now, and write its report."""
    from cpt import report
    from cpt.run.record.rounds import rounds_in

    print_summary(folder, as_json)
    for part in rounds_in(folder.path):
        report.write(part)
    written = report.write(folder.path)
    if written and not as_json:
        echo(f"{'report':<9} {written}")


def print_summary(folder: Folder, as_json: bool) -> None:
    """Print what is in the folder now."""
    summaries = {name: stage.get("summary", {}) for name, stage in folder.record["stages"].items()}
    from cpt.report.read.scores import read_agreement
    from cpt.report.sentences import about_disagreement
    from cpt.run.results.scores import read_scores, summary_of

    found = read_agreement(folder.path).disagreements
    scores = read_scores(folder.path / "scores.json")
    if as_json:
        paid = [attrs.asdict(charge) for charge in _charges(folder.path / "journal.sqlite")]
        plain = {"output": str(folder.path), "stages": summaries, "bill": paid}
        measured = {**summary_of(scores), "disagreements": [one.plain() for one in found]}
        print_json(plain | (measured if scores else {}))
        return
    for label, line in _lines(folder, summaries):
        echo(f"{label:<9} {line}")
    if scores:
        print_scores(scores)
    for one in found:
        echo(f"{'doubt':<9} {about_disagreement(one)} One of them may be hacked: see the report.")
    echo(f"{'in':<9} {folder.path}")


def _lines(folder: Folder, summaries: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines of a summary, each with its label."""
    yield from ((name, summed_up(summary)) for name, summary in summaries.items())
    outcomes = folder.path / OUTCOMES
    with as_written(outcomes):
        yield from (("no pair", line) for line in _prompts_without_pairs(outcomes))
        yield from (("dropped", line) for line in _names_of_dropped(outcomes))
    yield from (("measured", line) for line in _incomplete_scores(folder))
    yield from (("paid", line) for line in bill_lines(folder.path / "journal.sqlite"))


def _incomplete_scores(folder: Folder) -> Iterator[str]:
    """Each score that leaves prompts out, with the reasons; whether they are asked again."""
    from cpt.run.results.scores import measured, read_scores

    for model, named in read_scores(folder.path / "scores.json").items():
        for name, score in named.items():
            if score.missing:
                yield f"{model} {name}: {measured(score)}"
    if folder.stage("scores").get("summary", {}).get("unfinished"):
        yield "failures that may pass are asked again by the same command"


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


def _prompts_without_pairs(file: Path) -> Iterator[str]:
    """Prompts without a pair, by reason, a few of each by name."""
    return _by_reason(
        file,
        (
            (outcome["outcome"], outcome["prompt_id"], outcome["detail"])
            for outcome in read_lines(file)
            if not (outcome["pairs"] or outcome["dropped"])
        ),
    )


def _names_of_dropped(file: Path) -> Iterator[str]:
    """Pairs that were left out, by reason, a few of each by their name or their prompt's."""
    return _by_reason(
        file,
        (
            (pair["reason"], pair["pair"] or outcome["prompt_id"], pair["detail"])
            for outcome in read_lines(file)
            for pair in outcome["dropped"]
        ),
    )


def _by_reason(file: Path, found: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """One line for each reason, with a few names and one detail; `found` has all three."""
    names: dict[str, list[str]] = defaultdict(list)
    details: dict[str, str] = {}
    for reason, name, detail in found:
        names[reason].append(name)
        details[reason] = details.get(reason) or detail
    for reason, named in names.items():
        yield f"{reason}: {first_of(named)}{_for_one(details[reason])} (all in {file})"


def _for_one(detail: str) -> str:
    return f"; for example: {textwrap.shorten(detail, WIDEST_DETAIL)}" if detail else ""
