"""The answers of a model beside those of a baseline, prompt by prompt."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from cpt.data import NUMBERED, read_responses
from cpt.errors import BadData
from cpt.types import Prompt, Response

NAMED = 3


@attrs.frozen
class Answers:
    """What both said to a prompt."""

    prompt: Prompt
    baseline: Response
    model: Response


def matched(outputs: str, reference: str) -> list[Answers]:
    """The answers of two files to the same prompts, matched by id, or else by what was asked.

    Raises `BadData` if a prompt is in one file only, if it is there twice, or if an answer is
    missing.
    """
    ours, theirs = _by_prompt(outputs), _by_prompt(reference)
    by_text = {prompt.text.strip(): (prompt, said) for prompt, said in theirs.values()}
    found = []
    for key, (prompt, said) in ours.items():
        other = theirs.get(key) or by_text.get(prompt.text.strip())
        if other is not None:
            found.append(Answers(prompt, other[1], said))
    _refuse_others(outputs, reference, ours, [one.prompt.id for one in found])
    known = {one.baseline.prompt_id for one in found}
    _refuse_others(reference, outputs, theirs, known)
    return found


def _by_prompt(source: str) -> dict[str, tuple[Prompt, Response]]:
    """The answers by id; by what was asked, where the file has no ids."""
    found: dict[str, tuple[Prompt, Response]] = {}
    for prompt, said in read_responses(source):
        if not said.text.strip():
            raise BadData(f"{source}: the answer to {prompt.id!r:.80} is empty.")
        key = prompt.text.strip() if prompt.id.startswith(NUMBERED) else prompt.id
        if key in found:
            raise BadData(f"{source}: the prompt {key!r:.80} is there twice; leave one out.")
        found[key] = prompt, said
    return found


def _refuse_others(
    source: str, other: str, prompts: dict[str, tuple[Prompt, Response]], known: Iterable[str]
) -> None:
    there = set(known)
    alone = [prompt.id for prompt, _ in prompts.values() if prompt.id not in there]
    if alone:
        names = ", ".join(repr(name)[:80] for name in alone[:NAMED])
        raise BadData(
            f"{other}: no answer to {len(alone)} of the {len(prompts)} prompts of {source} "
            f"({names}{', ...' if len(alone) > NAMED else ''}); give both files the same prompts."
        )
