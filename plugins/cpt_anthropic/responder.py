"""The `anthropic` responder: Claude, over Anthropic's Messages API."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import attrs

from cpt import NOT_IDENTITY, AskError, Prompt, Response
from cpt.service import (
    BatchItem,
    BatchService,
    ChatService,
    check_key,
    check_url,
    extra_body_field,
    normal_url,
)

OFFICIAL = "https://api.anthropic.com"


@attrs.frozen
class Anthropic(ChatService, BatchService):
    """Asks Claude over Anthropic's Messages API, with the official SDK."""

    name = "anthropic"
    batch_items = 100_000
    batch_bytes = 256_000_000

    model: str
    """The model's name."""
    max_tokens: int = attrs.field(default=4096, kw_only=True)
    """Most tokens in an answer; the service insists on a limit."""
    extra_body: Mapping[str, Any] = extra_body_field()
    """More of the request's body, by name: `thinking`, `top_k`, `metadata`, ... (JSON or YAML)."""
    base_url: str | None = attrs.field(default=None, kw_only=True)
    """Where the service is; `ANTHROPIC_BASE_URL` or Anthropic itself where none is given."""
    api_key_env: str = attrs.field(default="ANTHROPIC_API_KEY", kw_only=True, metadata=NOT_IDENTITY)
    """The environment variable that holds the key."""

    @property
    def endpoint(self) -> str:
        """The base URL in effect."""
        return normal_url(self.base_url or os.environ.get("ANTHROPIC_BASE_URL") or OFFICIAL)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {**super().identity, "base_url": self.endpoint}

    def check(self) -> None:
        """A key is needed, except over plain http: servers of one's own."""
        check_url(self.endpoint)
        check_key(self, self.api_key_env, self.endpoint)
        # It takes a second or more to load, in which no request's time should run.
        from cpt_anthropic import sdk  # noqa: F401

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        from cpt_anthropic import sdk

        return await sdk.answer(self, prompt)

    async def close(self) -> None:
        from cpt_anthropic import sdk

        await sdk.CLIENTS.close()

    async def batch_submit(self, name: str, items: Sequence[BatchItem]) -> str:
        from cpt_anthropic import batch

        return await batch.submit(self, items)

    async def batch_find(self, name: str, count: int, since: float) -> Sequence[str]:
        from cpt_anthropic import batch

        return await batch.find(self, count, since)

    async def batch_ended(self, remote: str) -> bool:
        from cpt_anthropic import batch

        return await batch.ended(self, remote)

    def batch_results(
        self, remote: str, items: Mapping[str, BatchItem]
    ) -> AsyncIterator[tuple[str, Response | AskError]]:
        from cpt_anthropic import batch

        return batch.results(self, remote, items)

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The body of a request."""
        prompt.refuse_tools(self.name)
        system = [turn.content for turn in prompt.messages if turn.role == "system"]
        given = self.extra_body.get("output_config")
        more = given if isinstance(given, Mapping) else {}
        form = {"format": {"type": "json_schema", "schema": self.json_schema}}
        options = {
            "output_config": {**more, **form} if self.json_schema else None,
            "system": "\n\n".join(system) if system else self.system,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop_sequences": list(self.stop) or None,
        }
        return {
            **self.extra_body,
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [
                {"role": turn.role, "content": turn.content}
                for turn in prompt.messages
                if turn.role != "system"
            ],
            **{name: value for name, value in options.items() if value is not None},
        }
