"""The `server` responder: any endpoint that speaks OpenAI's chat completions, without an SDK."""

from __future__ import annotations

from typing import Any

import attrs

from cpt import NOT_IDENTITY, CptError, Prompt, Response
from cpt.service import (
    CompletionsService,
    check_key,
    check_url,
    normal_url,
)


@attrs.frozen
class Server(CompletionsService):
    """Asks a model that a server of yours serves: vLLM, SGLang, llama.cpp, transformers serve.

    An answer belongs to the model, wherever it is served: another address asks nothing again.
    """

    name = "server"

    model: str
    """The name under which the model is served."""
    base_url: tuple[str, ...] = attrs.field(
        default=("http://127.0.0.1:8000/v1",), kw_only=True, metadata=NOT_IDENTITY
    )
    """Where it is served; repeat the flag to share the load between several."""
    api_key_env: str | None = attrs.field(default=None, kw_only=True, metadata=NOT_IDENTITY)
    """The environment variable that holds the key, if the server wants one."""

    @property
    def endpoint(self) -> str:
        """All addresses: they share one set of limits."""
        return " ".join(sorted(map(normal_url, self.base_url)))

    def check(self) -> None:
        for url in self.base_url:
            check_url(url)
        if not self.base_url:
            raise CptError(f"server:{self.model} needs at least one base_url.")
        if self.api_key_env:
            check_key(self, self.api_key_env)

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        from cpt_server import http

        return await http.answer(self, prompt, sample)

    async def close(self) -> None:
        from cpt_server import http

        await http.CONNECTIONS.close()

    def body(self, prompt: Prompt, sample: int) -> dict[str, Any]:
        """The body of a request."""
        return self.request(self.model, prompt, sample)
