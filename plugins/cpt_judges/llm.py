"""A language model as a judge."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
from attrs.validators import ge

import cpt

REQUEST = """\
You grade an answer that an assistant gave. First comes what it was asked, then its answer.

=== Asked ===
{task}

=== Answer ===
{answer}

=== End of the answer ===

How good is it? It should do what was asked, be correct and be clear. Being long or short earns \
nothing in itself. First give your reasons in a few sentences. Then write on a last line \
"Score: " and a number from 1 (of no use) to {scale} (nothing could be better).
"""
WITHOUT_SCORE = ("cut_off", "refused", "filtered", "empty", "malformed", "rejected")
"""Outcomes with which the judge gives no score, but is there to judge the next answer."""


@attrs.frozen
class Llm(cpt.Judge):
    """A language model that gives each answer a number, seeing no other answer.

    Therefore the order of the answers cannot count. What it says is kept. A text without a score
    that can be read for certain, or one that was cut off, gives none.
    """

    name = "llm"
    responder: cpt.Responder
    """Who judges."""
    scale: int = attrs.field(default=10, validator=ge(2))
    """The best score; the worst is 1."""
    tries: int = attrs.field(default=1, validator=ge(1))
    """Most times that it is asked about one answer, until a score can be read."""

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        from asyncio import gather

        said = await gather(*(self._ask(prompt, response, ask) for response in responses))
        read = [self._read(answer) for answer in said]
        return cpt.Verdict(
            scores=tuple(None if isinstance(one, cpt.Missing) else one for one in read),
            rationale=said[0].text if len(said) == 1 else "",
            raw=tuple(answer.text for answer in said),
            missing=tuple(one if isinstance(one, cpt.Missing) else None for one in read),
        )

    async def _ask(self, prompt: cpt.Prompt, response: cpt.Response, ask: cpt.Ask) -> cpt.Response:
        """The judge's words: the first with a score, or the last. Raises `NoPair` without them."""
        places = {"{task}": prompt.text, "{answer}": response.text, "{scale}": str(self.scale)}
        request = re.sub("{(?:task|answer|scale)}", lambda place: places[place[0]], REQUEST)
        message = cpt.Message("user", request)
        question = cpt.Prompt(id=prompt.id, messages=(message,))
        for sample in range(self.tries):
            said = (await ask(self.responder, question, sample)).expect(*WITHOUT_SCORE)
            if not isinstance(self._read(said), cpt.Missing):
                break
        return said

    def _read(self, said: cpt.Response) -> float | cpt.Missing:
        """The score in the judge's words, or why there is none."""
        if said.outcome != "answered":
            why = said.detail or said.finish_reason or said.outcome
            return cpt.Missing(said.outcome.value, f"the judge {said.author}: {why}", said.text)
        from cpt_judges.reading import read_score  # its expressions are slow to compile

        score = read_score(said.text, self.scale)
        if score is None:
            detail = f"no score from 1 to {self.scale} can be read in what {said.author} wrote"
            return cpt.Missing("unread", detail, said.text)
        return score
