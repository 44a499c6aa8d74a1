"""What every responder promises."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from typing import ClassVar

import attrs
import pytest

from cpt.roles import Local, Responder, Service
from cpt.testing.contracts.component import ComponentContract
from cpt.testing.fakes import fake_prompts
from cpt.types import Prompt, Response

SECRET = "a-key-that-nobody-may-see"


class ResponderContract(ComponentContract[Responder]):
    """What every responder promises. A service is tested against a server on this machine."""

    secrets: ClassVar[Sequence[str]] = ()
    """Environment variables that it reads a key from."""

    def prompts(self) -> list[Prompt]:
        """What it is asked here: override it if it can answer only some prompts."""
        return fake_prompts(3)

    def test_the_answer_is_to_the_prompt_and_signed(self) -> None:
        prompts = self.prompts()
        responses = self._ask([(prompt, 0) for prompt in prompts])
        assert [response.prompt_id for response in responses] == [prompt.id for prompt in prompts]
        assert all(response.outcome == "answered" for response in responses)
        assert all(response.text for response in responses)
        assert {response.author for response in responses} == {self.component.author}

    def test_the_same_request_gets_the_same_answer(self) -> None:
        requests = [(prompt, 0) for prompt in self.prompts()]
        assert _texts(self._ask(requests)) == _texts(self._ask(requests))

    def test_company_changes_no_answer(self) -> None:
        """All requests at once, or one by one, or the other way round."""
        requests = [(prompt, sample) for prompt in self.prompts() for sample in range(2)]
        together = _texts(self._ask(requests))
        assert _texts([self._ask([request])[0] for request in requests]) == together
        assert _texts(self._ask(requests[::-1])) == together[::-1]

    def test_its_identity_is_plain_data(self) -> None:
        """It becomes part of the key under which an answer is kept."""
        assert json.loads(json.dumps(dict(self.component.identity)))

    def test_its_identity_ignores_how_it_is_fetched(self) -> None:
        """Asking slower must not mean paying again."""
        if isinstance(self.component, Service):
            slower = attrs.evolve(self.component, concurrency=1, timeout=1.0, attempts=1)
            assert slower.identity == self.component.identity

    def test_no_key_can_be_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Identities and options are written to disk."""
        for name in self.secrets:
            monkeypatch.setenv(name, SECRET)
        seen = f"{json.dumps(dict(self.component.identity))} {self.component!r}"
        keys = [value for name, value in os.environ.items() if _is_secret(name, value)]
        assert not [key for key in (*keys, SECRET) if key in seen]

    def _ask(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        if isinstance(self.component, Local):
            return self.component.answer_all(requests)
        assert isinstance(self.component, Service), "a responder is a Service or a Local"
        service = self.component

        async def all_at_once() -> Sequence[Response]:
            try:
                return await asyncio.gather(
                    *(service.answer(prompt, sample) for prompt, sample in requests)
                )
            finally:
                await service.close()

        return asyncio.run(all_at_once())


def _texts(responses: Sequence[Response]) -> list[str]:
    return [response.text for response in responses]


def _is_secret(name: str, value: str) -> bool:
    return name.endswith(("_KEY", "_TOKEN", "_SECRET")) and len(value) >= 8
