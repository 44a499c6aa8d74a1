"""The `openai` responder: OpenAI's chat completions, and every endpoint compatible with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import attrs

from cpt import NOT_IDENTITY, AskError, Prompt, Response
from cpt.service import (
    BatchItem,
    BatchService,
    CompletionsService,
    HostedService,
    is_openai,
)


@attrs.frozen
class OpenAI(CompletionsService, HostedService, BatchService):
    """Asks a model over OpenAI's chat completions, with the official SDK."""

    name = "openai"
    official_url = "https://api.openai.com/v1"
    base_url_env = "OPENAI_BASE_URL"
    batch_items = 50_000
    batch_bytes = 200_000_000

    model: str
    """The model's name at the endpoint."""
    reasoning_effort: str | None = attrs.field(default=None, kw_only=True)
    """How long a reasoning model thinks: `low`, `medium`, `high`, or what the model knows."""
    base_url: str | None = attrs.field(default=None, kw_only=True)
    """Where the endpoint is; `OPENAI_BASE_URL` or OpenAI itself where none is given."""
    api_key_env: str = attrs.field(default="OPENAI_API_KEY", kw_only=True, metadata=NOT_IDENTITY)
    """The environment variable that holds the key."""

    def check(self) -> None:
        super().check()
        # It takes a second or more to load, in which no request's time should run.
        from cpt_openai import sdk  # noqa: F401

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        from cpt_openai import sdk

        return await sdk.answer(self, prompt, sample)

    async def close(self) -> None:
        from cpt_openai import sdk

        await sdk.CLIENTS.close()

    async def batch_submit(self, name: str, items: Sequence[BatchItem]) -> str:
        from cpt_openai import batch

        return await batch.submit(self, name, items)

    async def batch_find(self, name: str, count: int, since: float) -> Sequence[str]:
        from cpt_openai import batch

        return await batch.find(self, name, since)

    async def batch_ended(self, remote: str) -> bool:
        from cpt_openai import batch

        return await batch.ended(self, remote)

    def batch_results(
        self, remote: str, items: Mapping[str, BatchItem]
    ) -> AsyncIterator[tuple[str, Response | AskError]]:
        from cpt_openai import batch

        return batch.results(self, remote, items)

    def body(self, prompt: Prompt, sample: int) -> dict[str, Any]:
        """The body of a request."""
        more: dict[str, Any] = {"reasoning_effort": self.reasoning_effort}
        if is_openai(self.endpoint):
            # Its reasoning models refuse the older name; many compatible servers know no other.
            more |= {"max_tokens": None, "max_completion_tokens": self.max_tokens}
        return self.request(self.model, prompt, sample, **more)
