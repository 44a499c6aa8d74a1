"""The `server` responder: any endpoint that speaks OpenAI's chat completions, without an SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cpt import NOT_IDENTITY, CptError, Prompt, Response, Service
from cpt.service import (
    chat_request,
    check_key,
    check_url,
    extra_body_field,
    json_schema_field,
    normal_url,
    top_logprobs_field,
)


@attrs.frozen
class Server(Service):
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
    temperature: float | None = attrs.field(default=None, kw_only=True)
    """Sampling temperature; the server's own default where none is given."""
    top_p: float | None = attrs.field(default=None, kw_only=True)
    """Sample from the smallest set of tokens that has this probability."""
    max_tokens: int | None = attrs.field(default=None, kw_only=True)
    """Most tokens in an answer."""
    seed: int | None = attrs.field(default=None, kw_only=True)
    """Asks for repeatable sampling; sample number n is asked with seed + n."""
    stop: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    """Texts that end an answer."""
    system: str | None = attrs.field(default=None, kw_only=True)
    """A system message for prompts that have none."""
    top_logprobs: int | None = top_logprobs_field()
    """Keep the log-probabilities of so many tokens at each place of the answer."""
    json_schema: Mapping[str, Any] = json_schema_field()
    """A JSON schema that answers must fit."""
    extra_body: Mapping[str, Any] = extra_body_field()
    """More of the request's body, by name: `top_k`, `chat_template_kwargs`, ... (JSON or YAML)."""
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
        return chat_request(
            self.model,
            prompt,
            sample,
            system=self.system,
            seed=self.seed,
            top_logprobs=self.top_logprobs,
            json_schema=self.json_schema,
            extra_body=self.extra_body,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            stop=list(self.stop) or None,
        )
