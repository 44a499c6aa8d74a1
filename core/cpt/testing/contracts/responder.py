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

SECRET = "a-key-that-must-not-be-seen"


class ResponderContract(ComponentContract[Responder]):
    """What every responder promises. A service is tested against a server on this machine."""

    secrets: ClassVar[Sequence[str]] = ()
    """Environment variables that it reads a key from."""

    def prompts(self) -> list[Prompt]:
        """What it is asked here: override it if it can answer only some prompts."""
        return fake_prompts(3)

    def test_the_answer_is_to_the_prompt_and_signed(self) -> None:
        """Each prompt gets an answer with a text, its id, and the responder's `author`."""
        prompts = self.prompts()
        responses = self._ask([(prompt, 0) for prompt in prompts])
        answered, asked = [response.prompt_id for response in responses], [p.id for p in prompts]
        assert answered == asked, f"The prompts {asked} got answers to {answered}."
        for response in responses:
            what = f"The answer to {response.prompt_id!r}"
            assert response.outcome == "answered", f"{what} has the outcome {response.outcome!r}."
            assert response.text, f"{what} has no text."
            author = self.component.author
            assert response.author == author, f"{what} is by {response.author!r}, not {author!r}."

    def test_the_same_request_gets_the_same_answer(self) -> None:
        """Asking twice for one sample of a prompt gives one text."""
        requests = [(prompt, 0) for prompt in self.prompts()]
        first, second = _texts(self._ask(requests)), _texts(self._ask(requests))
        assert first == second, f"The same requests got {first}, then {second}."

    def test_company_changes_no_answer(self) -> None:
        """Requests together, one by one, or in the other order get the same answers."""
        requests = [(prompt, sample) for prompt in self.prompts() for sample in range(2)]
        together = _texts(self._ask(requests))
        alone = _texts([self._ask([request])[0] for request in requests])
        assert alone == together, f"One by one they got {alone}, together {together}."
        reverse = _texts(self._ask(requests[::-1]))[::-1]
        assert reverse == together, f"In the other order they got {reverse}, not {together}."

    def test_its_identity_is_plain_data(self) -> None:
        """The identity is plain data and not empty: answers are kept under it."""
        identity = dict(self.component.identity)
        try:
            written = json.dumps(identity)
        except TypeError as error:
            raise AssertionError(f"The identity {identity} is no plain data: {error}.") from error
        assert json.loads(written), "The identity is empty."

    def test_its_identity_ignores_how_it_is_fetched(self) -> None:
        """Limits of a service are not part of its identity: asking slower must not cost again."""
        if isinstance(self.component, Service):
            slower = attrs.evolve(self.component, concurrency=1, timeout=1.0, attempts=1)
            identity = self.component.identity
            assert slower.identity == identity, (
                f"With other limits the identity is {slower.identity}, not {identity}."
            )

    def test_no_key_can_be_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither the identity nor the repr holds a key: both are written to disk."""
        for name in self.secrets:
            monkeypatch.setenv(name, SECRET)
        seen = f"{json.dumps(dict(self.component.identity))} {self.component!r}"
        keys = {name: value for name, value in os.environ.items() if _is_secret(name, value)}
        shown = [name for name, key in keys.items() if key in seen]
        assert not shown, f"The identity or the repr shows {', '.join(shown)}."
        assert SECRET not in seen, "The identity or the repr shows a key."

    def _ask(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        if isinstance(self.component, Local):
            return self.component.answer_all(requests)
        assert isinstance(self.component, Service), "Derive from cpt.Service or cpt.Local."
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
