import attrs

import cpt


@attrs.frozen
class Paid(cpt.Service):
    """Answers, and notes down that it was asked."""

    name = "paid"
    model: str = "paid"
    """Its only model."""

    async def answer(self, prompt, sample):
        with open("asked.log", "a") as log:
            log.write(prompt.id + " ")
        said = f"the long answer to {prompt.text}"
        return cpt.Response(prompt_id=prompt.id, text=said, author=self.model)


@attrs.frozen
class Longer(cpt.Pairer):
    """Prefers the answer to the beginning of it."""

    name = "longer"
    responder: cpt.Responder
    """Who is asked."""

    async def pair(self, prompt, ask):
        chosen = (await ask(self.responder, prompt)).expect()
        rejected = attrs.evolve(chosen, text="the short answer", author="nobody")
        return [cpt.Pair(prompt=prompt, chosen=chosen, rejected=rejected)]


@cpt.hookimpl
def cpt_responders():
    return [Paid]


@cpt.hookimpl
def cpt_pairers():
    return [Longer]
