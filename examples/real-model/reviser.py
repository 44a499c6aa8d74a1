"""A reviser for CLAIR that is a program: it fixes an answer instruction by instruction.

It is imperfect on purpose, as a model would be: it overlooks some of what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Any

import attrs
from attrs.validators import ge, le

import cpt

ANSWER = re.compile(r"^<answer>\n(.*)\n</answer>$", re.MULTILINE | re.DOTALL)
"""Where `request.txt` has the answer to be revised."""
REVISION = "{{teacher_reasoning}}\n{}\n{{corrected_student_solution}}\n{}"
Fix = Callable[[str, Mapping[str, Any]], str]


@attrs.frozen
class Fixer(cpt.Local):
    """Change an answer so that it follows the instructions of its prompt, most of the time.

    It is asked with `request.txt`, and looks up by the prompt's id what was instructed. The same
    answer is always fixed in the same way.
    """

    name = "fixer"
    journaled = False  # To ask again is as fast as to look it up.
    prompts: str = attrs.field(metadata=cpt.PATH)
    """The prompts with their instructions, in IFEval's columns."""
    fixes: float = attrs.field(default=0.8, validator=[ge(0.0), le(1.0)])
    """Probability that an instruction is attended to."""
    seed: int = attrs.field(default=0, kw_only=True)
    """Decides which ones are."""

    @property
    def author(self) -> str:
        return self.name

    def check(self) -> None:
        instructions(self.prompts)

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        return [self._answer(prompt, sample) for prompt, sample in requests]

    def _answer(self, prompt: cpt.Prompt, sample: int) -> cpt.Response:
        wanted, found = instructions(self.prompts).get(prompt.id), ANSWER.search(prompt.text)
        if wanted is None or found is None:
            why = f"no prompt {prompt.id!r} in {self.prompts}, or no <answer> in the request"
            return cpt.Response(
                prompt_id=prompt.id, text="", author=self.author, outcome="refused", detail=why
            )
        random = Random(f"{self.seed} {sample} {prompt.text}")
        kept = {kind: given for kind, given in wanted.items() if random.random() < self.fixes}
        text = REVISION.format(", ".join(kept) or "nothing", fixed(found[1], kept))
        return cpt.Response(prompt_id=prompt.id, text=text, author=self.author)


@lru_cache
def instructions(source: str) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """The instructions of each prompt, by its id. Raises `CptError`."""
    return {
        prompt.id: dict(zip(prompt.info["instruction_id_list"], prompt.info["kwargs"], strict=True))
        for prompt in cpt.read_prompts(source)
    }


def fixed(answer: str, wanted: Mapping[str, Mapping[str, Any]]) -> str:
    """The answer with one instruction after the other seen to, those about its form last."""
    for kind in sorted(wanted.keys() & FIXES.keys(), key=list(FIXES).index):
        answer = FIXES[kind](answer, wanted[kind])
    return answer


def shorter(answer: str, given: Mapping[str, Any]) -> str:
    """Whole sentences while they fit, or else the first words."""
    room = given["num_words"] - 6  # another instruction may add some
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s|$)", answer)]
    fitting = [end for end in ends if len(re.findall(r"\w+", answer[:end])) <= room]
    if len(re.findall(r"\w+", answer)) < given["num_words"]:
        return answer
    return answer[: fitting[-1]] if fitting else " ".join(answer.split()[: room // 2]) + "."


def without_words(answer: str, given: Mapping[str, Any]) -> str:
    """`and` becomes `with`, every other forbidden word goes."""
    for word in given["forbidden_words"]:
        other = {"and": "with", "can": "may"}.get(word, "")
        answer = re.sub(rf"\b{re.escape(word)}\b", other, answer, flags=re.IGNORECASE)
    return answer


def with_words(answer: str, given: Mapping[str, Any]) -> str:
    """A sentence with the words that are missing."""
    missing = [word for word in given["keywords"] if word.lower() not in answer.lower()]
    return f"{answer} It is {' and '.join(missing)}." if missing else answer


def bullets(answer: str, given: Mapping[str, Any]) -> str:
    """The sentences as so many points: what is too much is left out, the last one repeated."""
    marked = [line for line in answer.splitlines() if re.match(r"\s*(\*[^*]|-)", line)]
    if len(marked) == given["num_bullets"]:
        return answer
    plain = " ".join(re.sub(r"^\s*[*-]+\s*", "", line) for line in answer.splitlines())
    points = [point for point in re.split(r"(?<=[.!?])\s+", plain.strip()) if point]
    points = (points + points[-1:] * given["num_bullets"])[: given["num_bullets"]]
    return "\n".join(f"* {point}" for point in points)


def highlighted(answer: str, given: Mapping[str, Any]) -> str:
    """Asterisks around the longest words."""
    if len(re.findall(r"\*[^\n*]+\*", answer)) >= given["num_highlights"]:
        return answer
    words = sorted(set(re.findall(r"[^\W\d_]{4,}", answer)), key=lambda word: (-len(word), word))
    for word in words[: given["num_highlights"]]:
        answer = re.sub(rf"(?<![*\w]){word}(?![*\w])", f"*{word}*", answer, count=1)
    return answer


def titled(answer: str, given: Mapping[str, Any]) -> str:
    """The first words as a title, unless there is one."""
    words = " ".join(re.findall(r"\w+", answer)[:4])
    return answer if re.search(r"<<[^\n]+>>", answer) else f"<<{words}>>\n\n{answer}"


def with_postscript(answer: str, given: Mapping[str, Any]) -> str:
    """A few words below, unless there are some."""
    marker = given["postscript_marker"]
    return answer if marker in answer else f"{answer}\n\n{marker} Ask me if you want to know more."


def ending(answer: str, given: Mapping[str, Any]) -> str:
    """The phrase at the end."""
    return answer if answer.endswith(given["end_phrase"]) else f"{answer} {given['end_phrase']}"


def quoted(answer: str, given: Mapping[str, Any]) -> str:
    """Quotation marks around all of it, none inside, and not on the line of a bullet point."""
    plain = answer.strip().replace('"', "")
    return f'"\n{plain}\n"' if plain.startswith(("*", "-")) else f'"{plain}"'


FIXES: Mapping[str, Fix] = {
    "length_constraints:number_words": shorter,
    "keywords:forbidden_words": without_words,
    "punctuation:no_comma": lambda answer, _: answer.replace(",", ""),
    "detectable_format:number_bullet_lists": bullets,
    "keywords:existence": with_words,
    "detectable_format:number_highlighted_sections": highlighted,
    "detectable_format:title": titled,
    "detectable_content:postscript": with_postscript,
    "startend:end_checker": ending,
    "change_case:english_lowercase": lambda answer, _: answer.lower(),
    "change_case:english_capital": lambda answer, _: answer.upper(),
    "startend:quotation": quoted,
}


@cpt.hookimpl
def cpt_responders() -> list[type[cpt.Responder]]:
    return [Fixer]
