"""Responders answer prompts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import attrs
from attrs.validators import ge, gt, optional

from cpt.errors import CptError
from cpt.roles.component import NOT_IDENTITY, Component
from cpt.roles.returns import checked_responses
from cpt.types import Prompt, Response


@attrs.frozen
class Responder(Component):
    """Answers prompts. Subclass `Service` or `Local`."""

    role = "responder"
    journaled: ClassVar[bool] = True
    """Whether answers are kept in the run's journal; False where they are on disk already."""

    # What others ask of a responder. Where you have an option of such a name, that is the answer.

    @property
    def model(self) -> str | None:
        """Which model answers, where there is a choice."""
        return None

    @property
    def temperature(self) -> float | None:
        """What it samples at, where that is known."""
        return None

    @property
    def max_tokens(self) -> int | None:
        """Most tokens in an answer, None where it sets no limit."""
        return None

    @property
    def top_logprobs(self) -> int | None:
        """How many tokens it gives the log-probabilities of, at each place of an answer."""
        return None

    @property
    def json_schema(self) -> Mapping[str, Any]:
        """The JSON schema that its answers fit; empty for free text."""
        return {}

    @property
    def author(self) -> str:
        """The name that its answers are signed with: the model, or else its own name."""
        return self.model or self.name

    def has_option(self, name: str) -> bool:
        """Whether `with_options` can change it.

        With an option `top_logprobs` it can give log-probabilities, as `Response.info` says them;
        with `json_schema` it can answer in JSON of a given form. A model may still refuse either.
        """
        return name in self._options()

    def with_options(self, **options: Any) -> Self:
        """A copy with other options. Raises `CptError` if it lacks one of them."""
        known = self._options()
        for option in options.keys() - known:
            raise CptError(
                f"the responder {self.name!r} has no option {option!r} (it has "
                f"{', '.join(sorted(known)) or 'none'}); choose one that has."
            )
        return attrs.evolve(self, **options)

    def _options(self) -> set[str]:
        return {field.alias for field in attrs.fields(type(self)) if field.init}

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that determines an answer, beside the messages and the sample number.

        Two responders of one identity give interchangeable answers. The default is the name and
        every option that has a value and is not marked `metadata=NOT_IDENTITY`; so an option that
        a later version adds does not lose the answers that were paid for without it.
        """

        def counts(field: attrs.Attribute[Any], value: Any) -> bool:
            return field.metadata.get("identity", True) and value not in (None, (), {})

        kept = attrs.asdict(self, filter=counts)
        return {"responder": self.name, **kept}


@attrs.frozen
class Service(Responder):
    """A responder that is asked one request at a time, over a network."""

    concurrency: int = attrs.field(default=64, validator=ge(1), kw_only=True, metadata=NOT_IDENTITY)
    """Most requests in flight; fewer are used while the service is overloaded."""
    requests_per_minute: float | None = attrs.field(
        default=None, validator=optional(gt(0.0)), kw_only=True, metadata=NOT_IDENTITY
    )
    """Most requests started in a minute."""
    tokens_per_minute: float | None = attrs.field(
        default=None, validator=optional(gt(0.0)), kw_only=True, metadata=NOT_IDENTITY
    )
    """Most input and output tokens used in a minute."""
    timeout: float = attrs.field(
        default=120.0, validator=gt(0.0), kw_only=True, metadata=NOT_IDENTITY
    )
    """Seconds until a request without an answer is given up and asked again."""
    attempts: int = attrs.field(default=8, validator=ge(1), kw_only=True, metadata=NOT_IDENTITY)
    """Times that a request is asked before it counts as failed."""

    @abstractmethod
    async def answer(self, prompt: Prompt, sample: int) -> Response:
        """Answer once. Raise `Overloaded`, `Unreachable`, `Rejected` or `Denied`; never retry."""

    @property
    def endpoint(self) -> str:
        """Where it is asked: requests to one author at one endpoint share their limits."""
        return self.name

    async def close(self) -> None:
        """Let go of connections, in the event loop that asked: nothing more will be asked there."""


@attrs.frozen
class Local(Responder):
    """A responder that answers many prompts at once, in this process."""

    @property
    def at_once(self) -> int:
        """Most requests that `answer_all` is given together."""
        return 256

    @abstractmethod
    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        """Answer every (prompt, sample number), in the order given.

        Which requests come together must not change any answer.
        """

    def answer_each(
        self,
        requests: Sequence[tuple[Prompt, int]],
        answered: Callable[[int, Response], None],
        generated: Callable[[int], None],
    ) -> None:
        """Answer every request, calling `answered` with its index and its answer.

        Override it where answers are ready one after the other: each is then kept at once.
        `generated` may be called with a number of new tokens, to show progress. By default
        `answer_all` answers all.
        """
        answers = checked_responses(self, requests, self.answer_all(requests))
        for index, response in enumerate(answers):
            answered(index, response)


class Ask(Protocol):
    """How a pairer, a judge or an evaluator asks a responder: paid once, kept for ever."""

    async def __call__(self, responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        """Answer number `sample` of `responder` to `prompt`.

        Numbers keep several answers to one prompt apart; the same number is the same answer.
        """
