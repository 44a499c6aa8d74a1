"""What responders of chat services share."""

from __future__ import annotations

import attrs

from cpt import Prompt, Response
from cpt.config import options
from cpt.service import ChatService, CompletionsService
from cpt_anthropic.responder import Anthropic
from cpt_openai.responder import OpenAI
from cpt_server.responder import Server

from .asked import prompt


def test_the_responders_share_the_options_of_chat_services() -> None:
    """And a responder of one's own has them too, with their help."""
    assert issubclass(Anthropic, ChatService) and not issubclass(Anthropic, CompletionsService)
    shared = {field.name for field in options.fields(CompletionsService)}
    for kind in (OpenAI, Server):
        own = set(vars(kind).get("__annotations__", {}))
        assert issubclass(kind, CompletionsService) and not own & shared
        helps = options.descriptions(kind)
        assert all(helps[name] for name in shared)

    @attrs.frozen
    class Mine(CompletionsService):
        name = "mine"
        where: str
        temperature: float | None = attrs.field(default=0.5, kw_only=True)

        async def answer(self, prompt: Prompt, sample: int) -> Response:
            raise NotImplementedError

    mine = Mine("here", stop=("x",), seed=3)
    body = mine.request("m", prompt(1), 2, max_tokens=9)
    assert {**body, "messages": 0} == {
        **{"model": "m", "messages": 0, "temperature": 0.5, "stop": ["x"]},
        **{"seed": 5, "max_tokens": 9},
    }
