"""The `anthropic` responder: Claude, over Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import attrs

from cpt import NOT_IDENTITY, AskError, Prompt, Response
from cpt.service import (
    BatchItem,
    BatchService,
    ChatService,
    HostedService,
    extra_body_field,
)


@attrs.frozen
class Anthropic(ChatService, HostedService, BatchService):
    """Asks Claude over Anthropic's Messages API, with the official SDK."""

    name = "anthropic"
    official_url = "https://api.anthropic.com"
    base_url_env = "ANTHROPIC_BASE_URL"
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

    def check(self) -> None:
        super().check()
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
