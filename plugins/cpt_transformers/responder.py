"""A model on this machine, run with transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Literal

import attrs

import cpt
from cpt import models

IN_USE = Lock()
"""One model at a time: several would only slow each other down."""


@attrs.frozen
class Transformers(cpt.Local):
    """A causal language model from a folder or the hub, asked through its chat template.

    Only the options below decide how it is sampled, not what its own configuration suggests. The
    randomness of an answer is a function of the seed, the conversation, the sample number and the
    position in the text, so that it does not depend on what else is asked.
    """

    name = "transformers"
    model: str = attrs.field(metadata=cpt.PATH)
    """Its folder, or its id on the hub."""
    temperature: float = 1.0
    """What the logits are divided by; 0 takes the likeliest token each time."""
    top_p: float = 1.0
    """Sample from the likeliest tokens that hold this share of the probability."""
    top_k: int = 0
    """Sample from this many of the likeliest tokens; 0 from all."""
    max_tokens: int = 1024
    """Most tokens in an answer; a longer one is cut off."""
    seed: int = 0
    """Another seed gives other answers."""
    system: str = ""
    """A system message for conversations that have none."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What it is computed in; `auto` is what it was saved in."""
    trust_remote_code: bool = attrs.field(default=False, metadata=cpt.NOT_IDENTITY)
    """Run the Python code in the model's folder, for models that transformers does not have."""
    device: str = attrs.field(default="auto", metadata=cpt.NOT_IDENTITY)
    """Where it runs; `auto` is the first accelerator, or else the CPU."""
    batch_tokens: int = attrs.field(default=65536, metadata=cpt.NOT_IDENTITY)
    """Most tokens computed at once: prompts with their padding, and room for the answers."""

    @property
    def author(self) -> str:
        return models.name_of(self.model)

    @property
    def identity(self) -> Mapping[str, Any]:
        """A model is its weights, wherever they are: one that is trained again is another model."""
        options = super().identity
        return {**options, "model": self._digest}

    @property
    def _digest(self) -> str:
        return models.digest_of(self.model, trust_remote_code=self.trust_remote_code)

    @property
    def at_once(self) -> int:
        return 4096

    def check(self) -> None:
        models.folder_of(self.model)
        for option, fits, valid in (
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
        ):
            if not fits:
                given = getattr(self, option)
                raise cpt.CptError(f"responder.{option} is {given}: it must be {valid}.")

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        answers: dict[int, cpt.Response] = {}
        self.answer_each(requests, answers.__setitem__, lambda _: None)
        return [answers[index] for index in range(len(requests))]

    def answer_each(
        self,
        requests: Sequence[tuple[cpt.Prompt, int]],
        answered: Callable[[int, cpt.Response], None],
        generated: Callable[[int], None],
    ) -> None:
        from cpt_transformers.generation import Request, load

        for prompt, _ in requests:
            prompt.refuse_tools(self.name)

        def named(index: int, response: cpt.Response) -> None:
            answered(index, attrs.evolve(response, prompt_id=requests[index][0].id))

        asked = [Request(self._conversation(prompt), sample) for prompt, sample in requests]
        with IN_USE:
            loaded = load(
                str(models.folder_of(self.model)),
                self._digest,
                models.device_of(self.device),
                self.dtype,
                self.trust_remote_code,
            )
            loaded.answer(asked, self, named, generated)

    def _conversation(self, prompt: cpt.Prompt) -> tuple[cpt.Message, ...]:
        if not self.system or prompt.messages[0].role == "system":
            return prompt.messages
        return (cpt.Message("system", self.system), *prompt.messages)
