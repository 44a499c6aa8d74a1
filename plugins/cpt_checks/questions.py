"""Questions with known answers, as MixEval and others write them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import attrs

import cpt

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
    try:
        rows = _rows(path.read_text(encoding="utf-8"), path)
    except (OSError, ValueError) as error:
        raise cpt.CptError(f"{path}: cannot be read ({error}).") from error
    questions = [_question(name, row, path) for name, row in rows]
    if not questions:
        raise cpt.CptError(f"{path}: holds no question.")
    return questions


def _rows(text: str, path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    lines = path.suffix == ".jsonl"
    plain = [json.loads(line) for line in text.splitlines() if line] if lines else json.loads(text)
    if isinstance(plain, Mapping):
        return [(str(name), row) for name, row in plain.items()]
    return [(str(row.get("id", number)), row) for number, row in enumerate(plain)]


def _question(name: str, row: Any, path: Path) -> Question:
    where = f"{path}: question {name!r}"
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        raise cpt.CptError(f"{where} has no text in `prompt`.")
    targets = row.get("target")
    given = tuple(map(str, [targets] if isinstance(targets, str | int) else targets or ()))
    options = tuple(map(str, row.get("options") or ()))
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


def _are_numbers(targets: Sequence[str], options: int) -> bool:
    return 1 < options <= 26 and all(one.isdecimal() and int(one) < options for one in targets)
