"""Questions with known answers, as MixEval and others write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import attrs

import cpt
from cpt.files import LARGEST_JSON, from_json, read_text

CHOOSE = "Answer with the option letter from the given choices directly."
ANSWER = "Answer the question shortly."


@attrs.frozen(kw_only=True)
class Question:
    """One question."""

    id: str
    text: str
    targets: tuple[str, ...]
    """Right answers; of multiple choice, the numbers of right options from 0."""
    options: tuple[str, ...] = ()
    """What there is to choose from; empty for a free answer."""
    benchmark: str = ""

    @property
    def prompt(self) -> cpt.Prompt:
        lines = [
            f"{letter}. {said}" for letter, said in zip(ascii_uppercase, self.options, strict=False)
        ]
        text = "\n".join([self.text, *lines, CHOOSE if lines else ANSWER])
        return cpt.Prompt(id=self.id, messages=(cpt.Message("user", text),))

    @property
    def asked(self) -> cpt.Prompt:
        """The question alone, as a grader is shown it."""
        return cpt.Prompt(id=self.id, messages=(cpt.Message("user", self.text),))

    @property
    def letters_of_targets(self) -> set[str]:
        return {ascii_uppercase[int(target)] for target in self.targets}

    def pairs(self) -> Iterator[cpt.Pair]:
        """The first letter as an answer, beside each of the others."""
        for letter in ascii_uppercase[1 : len(self.options)]:
            yield cpt.Pair(
                id=f"{self.id}/{letter}",
                prompt=self.prompt,
                chosen=self._answer("A"),
                rejected=self._answer(letter),
            )

    def most_likely(self, logps: Mapping[str, cpt.PairLogps | cpt.Missing]) -> str | cpt.Missing:
        """The letter with the highest log-probability; the reason if one has none."""
        found = {pair.id[-1]: logps[pair.id] for pair in self.pairs()}
        for one in found.values():
            if isinstance(one, cpt.Missing):
                return one
        known = {letter: one for letter, one in found.items() if isinstance(one, cpt.PairLogps)}
        values = {"A": next(iter(known.values())).chosen}
        values |= {letter: one.rejected for letter, one in known.items()}
        return max(values, key=lambda letter: values[letter])

    def _answer(self, letter: str) -> cpt.Response:
        return cpt.Response(prompt_id=self.id, text=letter, author=letter)


def read_questions(path: Path) -> list[Question]:
    """The questions in a file: a table by id, a list, or lines of JSON. Raises `CptError`."""
    questions = [_question(name, row, path) for name, row in _rows(path)]
    if not questions:
        raise cpt.CptError(f"{path}: holds no question.")
    names = Counter(question.id for question in questions)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise cpt.CptError(f"{path}: question {twice!r:.80} is there twice; leave one out.")
    return questions


def _rows(path: Path) -> list[tuple[str, Any]]:
    from cpt.data import read_rows

    if path.suffix == ".json" and isinstance(table := _json(path), Mapping):
        return list(table.items())
    rows = [row.values for row in read_rows(path)]
    return [(str(row.get("id", number)), row) for number, row in enumerate(rows)]


def _json(path: Path) -> Any:
    try:
        return from_json(read_text(path, "the questions", LARGEST_JSON))
    except ValueError as error:
        raise cpt.CptError(f"{path}: the questions are not JSON ({error}).") from None


def _question(name: str, row: Any, path: Path) -> Question:
    where = f"{path}: question {name!r}"
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        raise cpt.CptError(f"{where} has no text in `prompt`.")
    given, options = (_texts(row.get(name), name, where) for name in ("target", "options"))
    if not given:
        raise cpt.CptError(f"{where} has no right answer in `target`.")
    if options and not _are_numbers(given, len(options)):
        raise cpt.CptError(
            f"{where}: `target` must have numbers of options from 0 to {len(options) - 1}, "
            f"got {', '.join(given)}."
        )
    context = str(row.get("context") or "").strip()
    return Question(
        id=name,
        text=f"{context}\n\n{row['prompt']}" if context else row["prompt"],
        targets=given,
        options=options,
        benchmark=str(row.get("benchmark_name") or ""),
    )


def _texts(value: Any, column: str, where: str) -> tuple[str, ...]:
    """A list of texts or numbers, or one alone; empty for nothing. Raises `CptError`."""
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(isinstance(one, str | int | float) for one in values):
        raise cpt.CptError(f"{where}: `{column}` must be texts or numbers, got {value!r:.60}.")
    return tuple(map(str, values))


def _are_numbers(targets: Sequence[str], options: int) -> bool:
    return 1 < options <= 26 and set(targets) <= set(map(str, range(options)))
