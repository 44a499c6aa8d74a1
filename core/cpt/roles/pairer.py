"""Pairers turn prompts into preference pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import attrs

from cpt.errors import NoPair
from cpt.roles.component import Component
from cpt.roles.responder import Ask
from cpt.types import Pair, Prompt


@attrs.frozen
class Pairer(Component):
    """Turns a prompt into preferences."""

    role = "pairer"

    @abstractmethod
    async def pair(self, prompt: Prompt, ask: Ask) -> Sequence[Pair | NoPair]:
        """Make the pairs of one prompt, or raise `NoPair`.

        Where one pair of several cannot be made, return a `NoPair` in its place: it is recorded
        and counted beside the pairs. Core runs many prompts at once and keeps their order; it
        drops and counts pairs with an empty side or two equal ones.
        """
