"""A service whose every answer is a million tokens long, and a pairer that asks it."""

import attrs

import cpt


@attrs.frozen
class Dear(cpt.Service):
    """Answers at length."""

    name = "dear"
    model: str = "dear"
    """Its only model."""
    max_tokens: int = 1_000_000
    """Most tokens of an answer."""

    @property
    def endpoint(self):
        return "http://dear.example/v1"

    async def answer(self, prompt, sample):
        with open("asked.log", "a") as log:
            log.write(prompt.id + " ")
        usage = cpt.Usage(output_tokens=1_000_000)
        return cpt.Response(prompt_id=prompt.id, text="long", author=self.model, usage=usage)


@attrs.frozen
class Taller(cpt.Pairer):
    """Prefers the long answer."""

    name = "taller"

    async def pair(self, prompt, ask):
        chosen = (await ask(Dear(), prompt)).expect()
        rejected = attrs.evolve(chosen, text="short", author="nobody")
        return [cpt.Pair(prompt=prompt, chosen=chosen, rejected=rejected)]


@cpt.hookimpl
def cpt_responders():
    return [Dear]


@cpt.hookimpl
def cpt_pairers():
    return [Taller]
