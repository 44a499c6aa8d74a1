"""How many different answers a model gives."""

from asyncio import gather
from collections.abc import Mapping, Sequence

import attrs
from attrs.validators import ge

import cpt


@attrs.frozen
class Variety(cpt.Evaluator):
    """Measures which share of the sampled answers to a prompt differ from each other.

    Preference training makes a model surer; where this falls, it may have become too sure.
    """

    name = "variety"
    samples: int = attrs.field(default=4, validator=ge(2))
    """How often each prompt is answered."""

    async def evaluate(
        self, model: cpt.Responder, prompts: Sequence[cpt.Prompt], ask: cpt.Ask
    ) -> Mapping[str, cpt.Score]:
        """Return `variety`: 1 where all answers differ, 1 / `samples` where they are all alike."""
        shares = await gather(*(self._share(model, prompt, ask) for prompt in prompts))
        each = {prompt.id: share for prompt, share in zip(prompts, shares, strict=True)}
        return {"variety": cpt.Score.mean({name: one for name, one in each.items() if one})}

    async def _share(self, model: cpt.Responder, prompt: cpt.Prompt, ask: cpt.Ask) -> float:
        said = await gather(*(ask(model, prompt, sample) for sample in range(self.samples)))
        texts = [answer.text for answer in said if answer.outcome.has_text]
        return len(set(texts)) / len(texts) if texts else 0.0
