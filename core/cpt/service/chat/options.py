"""The options that responders of chat services share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cpt.roles import Service
from cpt.service.chat.completions import chat_request
from cpt.service.chat.extra import extra_body_field
from cpt.service.chat.forms import json_schema_field, top_logprobs_field
from cpt.types import Prompt


@attrs.frozen(kw_only=True)
class ChatService(Service):
    """A service that answers conversations, with the options that all of them have."""

    temperature: float | None = None
    """Sampling temperature; the service's own default where none is given."""
    top_p: float | None = None
    """Sample from the smallest set of tokens that has this probability."""
    max_tokens: int | None = None
    """Most tokens in an answer, reasoning included."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer."""
    system: str | None = None
    """A system message for prompts that have none."""
    json_schema: Mapping[str, Any] = json_schema_field()
    """A JSON schema that answers must fit."""
    extra_body: Mapping[str, Any] = extra_body_field()
    """More of the request's body, by name: `top_k`, `chat_template_kwargs`, ... (JSON or YAML)."""


@attrs.frozen(kw_only=True)
class CompletionsService(ChatService):
    """A service that speaks OpenAI's chat completions, with the options of that protocol."""

    seed: int | None = None
    """Asks for repeatable sampling; sample number n is asked with seed + n."""
    top_logprobs: int | None = top_logprobs_field()
    """Keep the log-probabilities of so many tokens at each place of the answer."""

    def request(self, model: str, prompt: Prompt, sample: int, **more: Any) -> dict[str, Any]:
        """The body of a request with these options; those in `more` win over them."""
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop) or None,
        }
        return chat_request(
            model,
            prompt,
            sample,
            system=self.system,
            seed=self.seed,
            top_logprobs=self.top_logprobs,
            json_schema=self.json_schema,
            extra_body=self.extra_body,
            **{**given, **more},
        )
