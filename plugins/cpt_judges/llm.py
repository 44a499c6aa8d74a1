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
SCORE = re.compile(
    r"^[\s*_#>`]*score[\s*_`]*[:=][\s*_`\[]*(\d+(?:\.\d+)?)(?:[\s*_`\]]*/\s*(\d+))?",
    re.IGNORECASE | re.MULTILINE,
)


@attrs.frozen
class Llm(cpt.Judge):
    """A language model that gives each answer a number, seeing no other answer.

    So the order of the answers cannot count. What it says is kept; without a score in it that can
    be read there is none.
    """

    name = "llm"
    responder: cpt.Responder
    """Who judges."""
    scale: int = attrs.field(default=10, validator=ge(2))
    """The best score; the worst is 1."""

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        from asyncio import gather

        said = await gather(*(self._ask(prompt, response, ask) for response in responses))
        return cpt.Verdict(
            scores=tuple(read_score(text, self.scale) for text in said),
            rationale=said[0] if len(said) == 1 else "",
            raw=tuple(said),
        )

    async def _ask(self, prompt: cpt.Prompt, response: cpt.Response, ask: cpt.Ask) -> str:
        places = {"{task}": prompt.text, "{answer}": response.text, "{scale}": str(self.scale)}
        request = re.sub("{(?:task|answer|scale)}", lambda place: places[place[0]], REQUEST)
        message = cpt.Message("user", request)
        said = await ask(self.responder, cpt.Prompt(id=prompt.id, messages=(message,)))
        # Without a verdict on this answer there is none; without the judge, none on any.
        return said.expect("cut_off", "refused", "filtered", "empty", "malformed").text


def read_score(text: str, scale: int) -> float | None:
    """The last score that a text gives, if it is on the scale."""
    given = list(SCORE.finditer(text))
    if not given:
        return None
    score, best = given[-1].groups()
    fits = 1 <= float(score) <= scale and best in (None, str(scale))
    return float(score) if fits else None
