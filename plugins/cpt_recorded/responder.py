"""Answers that are on disk already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

import cpt
from cpt import paths

if TYPE_CHECKING:
    from cpt.data import ByPrompt

    Answers = ByPrompt[cpt.Response]


@attrs.frozen
class Recorded(cpt.Local):
    """Answers from a file, matched to a prompt by its id, or else by its text.

    The file is AlpacaEval's `model_outputs.json`, or has rows with `prompt` and `response`, or with
    `prompt` and a table `responses` by author. Several answers to one prompt are samples 0, 1, ...
    """

    name = "recorded"
    journaled = False
    source: str = attrs.field(metadata=cpt.PATH)
    """FILE#AUTHOR. A file with one author needs none; one that names none takes any, or else its
    answers are signed with the file's name.

    Of several `#`, the one after the longest name of a file that exists begins the author.
    """

    @property
    def author(self) -> str:
        file, _, author = paths.split_author(self.source)
        return author or self._only_author() or Path(file).stem

    def _only_author(self) -> str:
        """The author of a file that names one; nothing of a file that `check` complains about."""
        with suppress(cpt.CptError):
            authors = self._by_author()
            return next(iter(authors)) if len(authors) == 1 else ""
        return ""

    def check(self) -> None:
        self._answers()

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        answers, author = self._answers(), self.author
        return [self._answer(answers, author, prompt, sample) for prompt, sample in requests]

    def _answer(
        self, answers: Answers, author: str, prompt: cpt.Prompt, sample: int
    ) -> cpt.Response:
        found = answers.of(prompt)
        if sample < len(found):
            outcome = found[sample].outcome if found[sample].text.strip() else cpt.Outcome.EMPTY
            return attrs.evolve(found[sample], prompt_id=prompt.id, author=author, outcome=outcome)
        count = f"only {len(found)} answer{'s' * (len(found) > 1)}" if found else "no answer"
        return cpt.Response(
            prompt_id=prompt.id,
            text="",
            author=author,
            outcome=cpt.Outcome.REJECTED,
            detail=f"{self.source} has {count} to prompt {prompt.id!r}",
        )

    def _answers(self) -> Answers:
        """What the author said. Raises `CptError` naming the authors that there are."""
        _, sharp, author = paths.split_author(self.source)
        authors = self._by_author()
        if len(authors) == 1 and (not sharp or "" in authors):
            return next(iter(authors.values()))
        if sharp and author in authors:
            return authors[author]
        there = ", ".join(repr(name) for name in sorted(authors))
        raise cpt.CptError(
            f"recorded:{self.source}: no such author; write recorded:FILE#AUTHOR, there is {there}."
        )

    def _by_author(self) -> Mapping[str, Answers]:
        """All that the file holds. Raises `CptError`."""
        file, _, _ = paths.split_author(self.source)
        if not file.strip():
            raise cpt.CptError(f"recorded:{self.source}: which file? Write recorded:FILE#AUTHOR.")
        path = Path(paths.resolve(file))
        return _load(path, _state(path))


def _state(path: Path) -> tuple[int, int] | None:
    """What changes when a file does."""
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None


@lru_cache(maxsize=8)
def _load(path: Path, state: tuple[int, int] | None) -> Mapping[str, Answers]:
    """The answers in a file by author, as long as its `state` is the same."""
    from collections import defaultdict

    from cpt.data import ByPrompt, read_responses

    authors: dict[str, Answers] = defaultdict(ByPrompt)
    for prompt, response in read_responses(path):
        authors[response.author].add(prompt, response)
    return authors
