import attrs

import cpt


@attrs.frozen
class Speaker(cpt.Local):
    """Is asked nothing."""

    name = "speaker"
    model: str = "model"
    """What speaks."""
    temperature: float = 1.0
    """How freely."""

    def answer_all(self, requests):
        raise NotImplementedError


@attrs.frozen
class Warmth(cpt.Evaluator):
    """The temperature of a model."""

    name = "warmth"

    async def evaluate(self, model, prompts, ask):
        return {"warmth": cpt.Score.mean({prompt.id: model.temperature for prompt in prompts})}


@cpt.hookimpl
def cpt_responders():
    return [Speaker]


@cpt.hookimpl
def cpt_evaluators():
    return [Warmth]
