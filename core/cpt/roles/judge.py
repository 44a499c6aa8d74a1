"""Judges say how good answers are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from cpt.roles.component import Component
from cpt.roles.responder import Ask
from cpt.roles.returns import checked_judge
from cpt.types import Prompt, Response, Verdict


@attrs.frozen
class Judge(Component):
    """Says how good answers are."""

    role = "judge"
    judges_thoughts: ClassVar[bool] = False
    """Whether `judge` is given responses with their thoughts; else it sees the answers alone."""

    def __init_subclass__(cls, **rest: Any) -> None:
        """Check what a judge returns wherever it is called, as any pairer may call it."""
        super().__init_subclass__(**rest)
        if "judge" in vars(cls):
            cls.judge = checked_judge(cls.judge)  # type: ignore[method-assign]

    @abstractmethod
    async def judge(self, prompt: Prompt, responses: Sequence[Response], ask: Ask) -> Verdict:
        """Score each response to the prompt.

        Where a response has a thought, this sees the answer alone, unless the class says
        `judges_thoughts`. Whoever calls it gets a `Verdict` with one score for each response, or a
        `WrongReturn`.
        """
