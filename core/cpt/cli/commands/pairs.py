"""`cpt show pairs`: pairs for reading, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from cpt.cli.printing.output import echo, echo_lines, print_json, takes_json

if TYPE_CHECKING:
    from cpt.report.read.diff import MarkedText
    from cpt.types import Pair, Response

CHOSEN, REJECTED = ("[+", "+]"), ("[-", "-]")
"""What is put around words that only this side has, as `wdiff` writes them."""


@takes_json
@click.command("pairs")
@click.argument("source", metavar="PAIRS")
@click.option("--search", default="", help="Only pairs with this text in them or in their id.")
@click.option("--author", default="", help="Only pairs with an answer by this author.")
@click.option("--tier", type=int, help="Only pairs of this tier.")
@click.option("--limit", type=click.IntRange(min=1), default=5, show_default=True)
def show_pairs(
    source: str, as_json: bool, search: str, author: str, tier: int | None, limit: int
) -> None:
    """Print pairs of a file or a run, the words that differ marked.

    `[+these+]` only the chosen answer has at that place, `[-these-]` only the rejected one.
    """
    from cpt.data import each_pair

    fitting = (pair for pair in each_pair(source) if _fits(pair, search, author, tier))
    shown = list(islice(fitting, limit))
    more = sum(1 for _ in fitting)
    if as_json:
        print_json({"found": len(shown) + more, "pairs": [_plain(pair) for pair in shown]})
        return
    for pair in shown:
        echo_lines("\n".join(_lines(pair)) + "\n")
    echo(f"{len(shown)} of {len(shown) + more} pairs that fit.")


def _fits(pair: Pair, search: str, author: str, tier: int | None) -> bool:
    texts = (pair.id, pair.prompt.text, pair.chosen.text, pair.rejected.text, pair.rationale)
    return (
        search.lower() in "\n".join(texts).lower()
        and author in ("", pair.chosen.author, pair.rejected.author)
        and tier in (None, pair.tier)
    )


def _plain(pair: Pair) -> dict[str, Any]:
    from cpt.data.pairs import row_of

    return dict(row_of(pair))


def _lines(pair: Pair) -> Iterator[str]:
    from cpt.report.read.diff import compare

    chosen, rejected = compare(pair.chosen.text, pair.rejected.text)
    margin = "" if pair.margin is None else f", margin {pair.margin:g}"
    yield f"── {pair.id}, tier {pair.tier}{margin}{f', {pair.pairer}' if pair.pairer else ''}"
    for message in pair.prompt.messages:
        yield f"{message.role}: {message.content}"
    yield f"\n{_title('chosen', pair.chosen, pair.chosen_score)}\n{_marked(chosen, CHOSEN)}"
    yield f"\n{_title('rejected', pair.rejected, pair.rejected_score)}"
    yield _marked(rejected, REJECTED)
    if pair.rationale:
        yield f"\nrationale: {pair.rationale}"


def _title(side: str, answer: Response, score: float | None) -> str:
    by = f" by {answer.author}" if answer.author else ""
    return f"{side}{by}" + ("" if score is None else f", score {score:g}")


def _marked(text: MarkedText, marks: Sequence[str]) -> str:
    before, after = marks
    pieces = (f"{before}{piece}{after}" if marked else piece for piece, marked in text.pieces)
    cut = f" […] ({text.length:,} characters)" if text.is_cut else ""
    return "".join(pieces) + cut
