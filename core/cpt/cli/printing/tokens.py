"""The tokens of one pair, with what is trained marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpt.cli.printing.output import echo
from cpt.errors import CptError

if TYPE_CHECKING:
    from cpt.training.options import Training
    from cpt.types import Pair

PER_LINE = 12
"""Tokens in a line."""


def sides_of(
    source: str, name: str, model: str, options: Training
) -> dict[str, list[dict[str, Any]]]:
    """The tokens of both sides of a pair. Raises `CptError` if it cannot be trained on."""
    from cpt.models import folder_of
    from cpt.training.planning.encoder import PairEncoder

    encoder = PairEncoder.of(folder_of(model), options)
    corpus, found = encoder.prepare([_pair_called(source, name)])
    if not found.kept:
        reason = found.findings[0]
        detail = reason.detail and f" ({reason.detail})"
        raise CptError(f"{source}: pair {name} is left out: {reason.problem}{detail}.")
    return {
        side: _tokens(encoder.tokenizer, corpus.sequences[int(places[0])])
        for side, places in (("chosen", corpus.chosen), ("rejected", corpus.rejected))
    }


def _pair_called(source: str, name: str) -> Pair:
    from cpt.data import each_pair

    for pair in each_pair(source):
        if pair.id == name:
            return pair
    raise CptError(f"{source}: no pair has the id {name!r}; --json names some under `examples`.")


def _tokens(tokenizer: Any, sequence: Any) -> list[dict[str, Any]]:
    parts = ((sequence.prompt, False), (sequence.answer, True))
    return [
        {"id": id_, "token": tokenizer.decode([id_]), "trained": trained}
        for ids, trained in parts
        for id_ in ids.tolist()
    ]


def print_sides(name: str, sides: dict[str, list[dict[str, Any]]]) -> None:
    """Tokens in quotation marks, those that are trained between [ and ]."""
    for side, tokens in sides.items():
        trained = sum(token["trained"] for token in tokens)
        echo(f"{side} of {name}: {len(tokens)} tokens, {trained} of them trained, in [ ]")
        for start in range(0, len(tokens), PER_LINE):
            echo("  " + " ".join(map(_marked, tokens[start : start + PER_LINE])))


def _marked(token: dict[str, Any]) -> str:
    text = repr(token["token"])[1:-1] if token["token"] else f"<{token['id']}>"
    return f"[{text}]" if token["trained"] else text
