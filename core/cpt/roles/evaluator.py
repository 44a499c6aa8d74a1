"""Evaluators measure a trained model."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

import attrs

from cpt.errors import CptError
from cpt.roles.component import Component
from cpt.roles.responder import Ask, Responder
from cpt.types import Missing, Pair, PairLogps, Prompt, Score

Material = Literal["prompts", "pairs"]
"""What an evaluator may measure on."""
LogpsOf = Callable[[Sequence[Pair], str], Mapping[str, PairLogps | Missing]]
"""From pairs and a model's folder to the log-probabilities of each pair, by its id."""


def _not_in_a_run(pairs: Sequence[Pair], model: str) -> Mapping[str, PairLogps | Missing]:
    raise CptError("log-probabilities are computed only where a run is measured.")


@attrs.frozen(kw_only=True)
class Evaluation:
    """A model under evaluation, and what its run has to measure it with."""

    model: Responder
    """The model that is measured: see `Evaluator.evaluate`."""
    base: Responder
    """The model before training, which answers in the same way."""
    reference: str = ""
    """The model that training compared with: a folder, a path scheme or a hub id."""
    prompts: Sequence[Prompt] = ()
    """Those of `--eval-prompts`, if an evaluator needs prompts."""
    pairs: Sequence[Pair] = ()
    """Those of `--eval-pairs`, or that were held out from training, if an evaluator needs pairs."""
    reward_scale: float = 1.0
    """What turns a log-ratio into a reward: `beta` of the run's loss."""
    logps_of: LogpsOf = _not_in_a_run
    """Log-probabilities of pairs under a model, computed and cut as in this run's training."""


@attrs.frozen
class Evaluator(Component):
    """Measures a trained model."""

    role = "evaluator"
    needs: ClassVar[frozenset[Material]] = frozenset({"prompts"})
    """What it measures on: `prompts`, `pairs` or both; see `must_have`."""
    unit: ClassVar[str] = ""
    """What it has values for, in the plural; without it `prompts`, or `pairs` if it needs those."""
    quality: ClassVar[tuple[str, ...]] = ()
    """Its scores of which a higher one means a better model, as patterns: `*` is any text.

    The report says where one of them rises while that of another evaluator falls.
    """
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    """Its scores of which a lower one means a better model, as patterns; of others a higher one."""
    side_effects: ClassVar[Mapping[str, str]] = {}
    """Its scores that training should leave alone, each in words: `the words of an answer`."""

    def must_have(self) -> frozenset[Material]:
        """What of `needs` it cannot do without, with these options; all of it by default."""
        return self.needs

    def for_dry_run(self) -> Evaluator | None:
        """What `--dry-run` goes through in its place, to count what it asks.

        Its answers are stand-ins that nobody gave: it may raise `CptError` for want of scores once
        all is asked, and must write nothing. None, by default, where that cannot be promised: the
        evaluator is then named as not counted.
        """
        return None

    @abstractmethod
    async def evaluate(
        self, model: Responder, prompts: Sequence[Prompt], ask: Ask
    ) -> Mapping[str, Score]:
        """Return scores by name; a name has no blanks.

        `model` is the responder under evaluation: `ask(model, prompt)` is its answer, and
        `model.with_options(temperature=0.0)` answers greedily. `cpt.models.folder_of(model.model)`
        is the folder with its weights, where it has some.
        """


@attrs.frozen
class RunEvaluator(Evaluator):
    """Measures a trained model with more than prompts: on held-out pairs, or beside its base."""

    @abstractmethod
    async def measure(self, evaluation: Evaluation, ask: Ask) -> Mapping[str, Score]:
        """Return scores by name; a name has no blanks."""

    async def evaluate(
        self, model: Responder, prompts: Sequence[Prompt], ask: Ask
    ) -> Mapping[str, Score]:
        """Return scores by name for a model that is its own base."""
        return await self.measure(Evaluation(model=model, base=model, prompts=prompts), ask)


def labelled(evaluators: Sequence[Evaluator]) -> Iterator[tuple[str, Evaluator]]:
    """Each evaluator with what its scores begin with: its name; `NAME_2` for the second of it."""
    seen = Counter[str]()
    for evaluator in evaluators:
        seen[evaluator.name] += 1
        count = seen[evaluator.name]
        yield evaluator.name if count == 1 else f"{evaluator.name}_{count}", evaluator


def is_among(name: str, patterns: Sequence[str]) -> bool:
    """Whether a score is one of those that an evaluator names by patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
