"""A judge that prefers the longer answer, and a service that may wait for a file."""

import asyncio
from pathlib import Path

import attrs

import cpt


@attrs.frozen
class Length(cpt.Judge):
    """The number of characters."""

    name = "length"

    async def judge(self, prompt, responses, ask):
        return cpt.Verdict(scores=tuple(float(len(response.text)) for response in responses))


@attrs.frozen
class Gated(cpt.Service):
    """Answers with the prompt's id."""

    name = "gated"
    model: str = ""
    """Not used."""
    temperature: float = 0.0
    """Not used."""
    gate: str = ""
    """A file that must be there before it answers."""

    async def answer(self, prompt, sample):
        while self.gate and not Path(self.gate).exists():
            await asyncio.sleep(0.01)
        return cpt.Response(prompt_id=prompt.id, text=f"{prompt.id}!", author="gated")


@cpt.hookimpl
def cpt_judges():
    return [Length]


@cpt.hookimpl
def cpt_responders():
    return [Gated]
