"""Whether answers follow instructions that a program can check (IFEval, arXiv 2311.07911)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

import cpt

EXTRA = "pip install 'contrastive-post-training[verifiable]'"


@attrs.frozen
class Instruction:
    """One instruction of a prompt: `length_constraints:number_words`, with its arguments."""

    id: str
    arguments: Mapping[str, Any]


@attrs.frozen
class Verifiable(cpt.Judge):
    """How many of the instructions in a prompt an answer follows, checked by IFEval's own rules.

    A row of prompts names them as IFEval does, in the columns `instruction_id_list` and `kwargs`.
    Needs the extra `verifiable`. Nothing is downloaded: an instruction that needs data which is
    not on this machine gives no score, and neither does one that the rules do not know.
    """

    name = "verifiable"
    score: Literal["share", "all"] = "share"
    """The share of instructions that are followed, or 1 only if all are, else 0."""
    loose: bool = False
    """Also count an answer as following an instruction if it does so without its first or last
    line, or without asterisks."""

    def check(self) -> None:
        _rules()

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        instructions = read_instructions(prompt)
        found = [self._score(prompt, instructions, response.text) for response in responses]
        return cpt.Verdict(
            scores=tuple(None if isinstance(one, cpt.Missing) else one for one in found),
            missing=tuple(one if isinstance(one, cpt.Missing) else None for one in found),
        )

    def _score(
        self, prompt: cpt.Prompt, instructions: Sequence[Instruction], answer: str
    ) -> float | cpt.Missing:
        if why := next(filter(None, map(_unusable, instructions)), None):
            return why
        from if_verifiable.common import evaluate_instructions

        try:
            _, scores = evaluate_instructions(
                answer,
                [one.id for one in instructions],
                [dict(one.arguments) for one in instructions],
                prompt.text,
                _rules(),
            )
        except LookupError as error:
            what = next((line for line in str(error).splitlines() if "Resource" in line), "data")
            words = " ".join(what.split())
            return cpt.Missing("unchecked", f"NLTK's data is not on this machine: {words}")
        except Exception as error:  # the checks are not ours
            return cpt.Missing("unchecked", f"{type(error).__name__}: {error}")
        how = "loose" if self.loose else "strict"
        return float(getattr(scores, f"{'partial' if self.score == 'share' else 'binary'}_{how}"))


def read_instructions(prompt: cpt.Prompt) -> list[Instruction]:
    """The instructions in a prompt's row. Raises `CptError` if there are none."""
    names, arguments = (_listed(prompt.info.get(n)) for n in ("instruction_id_list", "kwargs"))
    if not names:
        raise cpt.CptError(
            f"verifiable: prompt {prompt.id!r} names no instruction; its row needs the columns "
            "instruction_id_list and kwargs, as IFEval's have."
        )
    if len(arguments) != len(names):
        raise cpt.CptError(
            f"verifiable: prompt {prompt.id!r} has {len(names)} instructions and {len(arguments)} "
            "kwargs; it needs one for each."
        )
    return [
        Instruction(str(name), {key: value for key, value in given.items() if value is not None})
        for name, given in zip(names, map(_mapping, arguments), strict=True)
    ]


def _listed(value: Any) -> list[Any]:
    """A list, or one as JSON; empty for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return list(value) if isinstance(value, list | tuple) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _unusable(instruction: Instruction) -> cpt.Missing | None:
    """Why an instruction cannot be checked: it is unknown, or its rule would draw by lot."""
    rule = _rules().get(instruction.id)
    if rule is None:
        return cpt.Missing("unchecked", f"IFEval has no instruction {instruction.id!r}")
    checker = rule(instruction.id)
    try:
        checker.build_description(**instruction.arguments)
    except Exception as error:
        return cpt.Missing("unchecked", f"{instruction.id}: {type(error).__name__}: {error}")
    used = checker.get_instruction_args() or {}
    drawn = [name for name in used if name not in instruction.arguments and name != "prompt"]
    if drawn:
        return cpt.Missing("unchecked", f"{instruction.id} lacks its {', '.join(drawn)}")
    return None


def _rules() -> Mapping[str, Any]:
    """IFEval's checks by name. Raises `CptError` without the package."""
    try:
        import langdetect
        from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT
    except ImportError as error:
        raise cpt.CptError(f"the judge 'verifiable' needs `{EXTRA}` ({error}).") from None
    langdetect.DetectorFactory.seed = 0  # else it draws by lot
    return INSTRUCTION_DICT  # type: ignore[no-any-return]
