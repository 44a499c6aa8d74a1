"""Instructions that a program can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import attrs
from attrs.validators import ge

import cpt
from cpt_checks.shares import share

PACKAGE = (
    "verifiable needs if-verifiable, which is not installed: "
    "pip install 'contrastive-post-training[verifiable]'"
)


@attrs.frozen
class Checked:
    """How many instructions of a prompt an answer follows."""

    count: int
    strict: int
    loose: int
    """The same if a first or last line and asterisks may be left out."""


@attrs.frozen
class Verifiable(cpt.Evaluator):
    """How often the model follows instructions that a program checks (IFEval, arXiv 2311.07911).

    The rows of the prompts have IFEval's columns: `instruction_id_list`, and for each instruction
    its arguments in `kwargs`. With `generate`, prompts are made of the instructions themselves,
    beside those rows of the file that have these columns. Strict and loose accuracy, by prompt (all
    of its instructions are followed) and by instruction. Needs the extra `verifiable`; nothing is
    downloaded.
    """

    name = "verifiable"
    quality = ("prompt_strict",)
    temperature: float = 0.0
    """At which the model answers."""
    generate: int = attrs.field(default=0, validator=ge(0))
    """So many prompts are made by lot: a request with one to three instructions."""
    kinds: tuple[str, ...] = ()
    """Instructions to make them of, by IFEval's names, which may hold `*`; without any all that
    need nothing else."""
    seed: int = 0
    """Another seed makes other prompts."""

    def check(self) -> None:
        from importlib.util import find_spec

        if find_spec("if_verifiable") is None:
            raise cpt.CptError(PACKAGE)
        self._generated()

    def must_have(self) -> frozenset[Any]:
        return frozenset() if self.generate else self.needs

    def for_dry_run(self) -> cpt.Evaluator:
        return self

    async def evaluate(
        self, model: cpt.Responder, prompts: Sequence[cpt.Prompt], ask: cpt.Ask
    ) -> Mapping[str, cpt.Score]:
        from asyncio import gather

        speaking = model.with_options(temperature=self.temperature)
        prompts = [*self._of_file(prompts), *self._generated()]
        found = await gather(*(_checked(speaking, prompt, ask) for prompt in prompts))
        named = dict(zip((prompt.id for prompt in prompts), found, strict=True))
        known = {name: one for name, one in named.items() if isinstance(one, Checked)}
        missing = {name: one for name, one in named.items() if isinstance(one, cpt.Missing)}
        if not known:
            why = next((f"{one.reason}: {one.detail}" for one in missing.values()), "there is none")
            raise cpt.CptError(f"the evaluator {self.name!r}: no prompt can be checked ({why}).")
        return {
            "prompt_strict": share(_all_followed(known, "strict"), missing),
            "prompt_loose": share(_all_followed(known, "loose"), missing),
            "instruction_strict": _by_instruction(known, "strict", missing),
            "instruction_loose": _by_instruction(known, "loose", missing),
        }

    def _of_file(self, prompts: Sequence[cpt.Prompt]) -> Sequence[cpt.Prompt]:
        """All of them; beside others that are made, those that name an instruction."""
        if not self.generate:
            return prompts
        return [prompt for prompt in prompts if prompt.info.get("instruction_id_list")]

    def _generated(self) -> Sequence[cpt.Prompt]:
        if not self.generate:
            return []
        from cpt_checks.instructions import generated

        return generated(self.generate, self.kinds, self.seed)


async def _checked(model: cpt.Responder, prompt: cpt.Prompt, ask: cpt.Ask) -> Checked | cpt.Missing:
    if problem := _problem(prompt):
        return problem
    try:
        answer = (await ask(model, prompt)).expect("cut_off", "empty")
    except cpt.NoPair as none:
        return cpt.Missing(none.reason, none.detail, none.raw)
    try:
        return _follows(prompt, answer.text)
    except LookupError as error:  # nltk's word for data that is not there
        asked = str(error).split("nltk.download('")[-1].split("'")[0]
        return cpt.Missing("no_nltk_data", f"python -m nltk.downloader {asked}")
    except Exception as error:  # the checks are not ours, and the arguments are the data's
        return cpt.Missing("unchecked", f"{type(error).__name__}: {error}")


def _problem(prompt: cpt.Prompt) -> cpt.Missing | None:
    """Why a prompt cannot be checked, whatever the answer."""
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

    ids, arguments = prompt.info.get("instruction_id_list"), prompt.info.get("kwargs")
    if not isinstance(ids, list | tuple) or not ids or not isinstance(arguments, list | tuple):
        return cpt.Missing(
            "no_instructions", "the row has no columns instruction_id_list and kwargs"
        )
    if len(ids) != len(arguments):
        return cpt.Missing("no_instructions", f"{len(ids)} instructions, {len(arguments)} kwargs")
    for name, given in zip(ids, arguments, strict=True):
        if not isinstance(name, str) or name not in INSTRUCTION_DICT:
            return cpt.Missing("unknown_instruction", f"{name!r:.80}")
        if not isinstance(given, Mapping | None):
            return cpt.Missing("incomplete", f"{name}: its kwargs are no table")
        # What is not given, the library would draw at random.
        needed = set(INSTRUCTION_DICT[name](name).get_instruction_args_keys())
        if lacking := needed - _given(given).keys():
            return cpt.Missing("incomplete", f"{name} without {', '.join(sorted(lacking))}")
    return None


def _follows(prompt: cpt.Prompt, text: str) -> Checked:
    import langdetect
    from if_verifiable.common import evaluate_instructions
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

    langdetect.DetectorFactory.seed = 0  # the same answer is of the same language
    ids = list(prompt.info["instruction_id_list"])
    arguments = [_given(given) for given in prompt.info["kwargs"]]
    results, _ = evaluate_instructions(text, ids, arguments, prompt.text, INSTRUCTION_DICT)
    return Checked(
        count=len(ids),
        strict=sum(result.strict_pass for result in results),
        loose=sum(result.loose_pass for result in results),
    )


def _given(arguments: Any) -> dict[str, Any]:
    """The arguments that have a value: IFEval's table has a column for each."""
    return {name: value for name, value in dict(arguments or {}).items() if value is not None}


def _all_followed(known: Mapping[str, Checked], how: str) -> dict[str, float]:
    return {name: float(getattr(one, how) == one.count) for name, one in known.items()}


def _by_instruction(
    known: Mapping[str, Checked], how: str, missing: Mapping[str, cpt.Missing]
) -> cpt.Score:
    """The share of all instructions; its error is that of a ratio over prompts."""
    total = sum(one.count for one in known.values())
    middle = sum(getattr(one, how) for one in known.values()) / total
    each = {name: getattr(one, how) / one.count for name, one in known.items()}
    count = len(known)
    if count < 2 or middle in (0, 1):
        return share(each, missing)
    squares = sum((getattr(one, how) - middle * one.count) ** 2 for one in known.values())
    half = 1.96 * sqrt(count / (count - 1) * squares) / total
    return cpt.Score(
        value=middle, low=middle - half, high=middle + half, each=each, missing=missing
    )
