"""Evaluators measure a trained model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import attrs

from cpt.roles.component import Component
from cpt.roles.responder import Ask, Responder
from cpt.types import Prompt, Score


@attrs.frozen
class Evaluator(Component):
    """Measures a trained model."""

    role = "evaluator"

    @abstractmethod
    async def evaluate(
        self, model: Responder, prompts: Sequence[Prompt], ask: Ask
    ) -> Mapping[str, Score]:
        """Return scores by name; a name has no blanks.

        `model` is the responder under evaluation: `ask(model, prompt)` is its answer, and
        `model.with_options(temperature=0.0)` answers greedily. `cpt.models.folder_of(model.model)`
        is the folder with its weights, where it has some.
        """
