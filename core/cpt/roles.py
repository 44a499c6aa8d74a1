"""The parts that a run is made of. Subclass one, give it a name, hand it to a hook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import attrs
from attrs.validators import ge, gt, optional

from cpt.errors import CptError, NoPair
from cpt.returns import checked_judge
from cpt.types import Batch, Pair, Prompt, Response, Score, Verdict

if TYPE_CHECKING:
    from torch import Tensor

NOT_IDENTITY: dict[str, Any] = {"identity": False}
"""Metadata of a field that changes how an answer is fetched, never what it says."""
PATH: dict[str, Any] = {"path": True}
"""Metadata of a text field that names a file or folder on this disk, or a model of the hub.

A run records the content of what it names (of `FILE#AUTHOR`, that of the file), and refuses to go
on with another. Both marks: `metadata=NOT_IDENTITY | PATH`.
"""


@attrs.frozen
class Component(ABC):
    """A named part of a run whose attrs fields are its options.

    The fields are the one source of the Python constructor, the YAML keys and the command-line
    flags; the string under a field is its help; the first line of the docstring describes the
    component.
    """

    role: ClassVar[str]
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        options = {name for base in cls.__mro__[1:] for name in getattr(base, "__slots__", ())}
        for name in sorted(options & vars(cls).keys() - cls.__annotations__.keys()):
            # attrs drops such a value without a word.
            if not hasattr(vars(cls)[name], "__get__"):
                raise TypeError(
                    f"{cls.__module__}.{cls.__qualname__}: `{name}` has no type, so the option "
                    f"keeps its default; write `{name}: TYPE = ...`"
                )

    def check(self) -> None:  # noqa: B027
        """Raise `CptError` if this cannot work here (a missing key, a missing file).

        Called before anything is asked, loaded or written.
        """


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
    def author(self) -> str:
        """The name that its answers are signed with: the model, or else its own name."""
        return self.model or self.name

    def with_options(self, **options: Any) -> Self:
        """A copy with other options. Raises `CptError` if it lacks one of them."""
        known = {field.alias for field in attrs.fields(type(self)) if field.init}
        for option in options.keys() - known:
            raise CptError(
                f"the responder {self.name!r} has no option {option!r} (it has "
                f"{', '.join(sorted(known)) or 'none'}); choose one that has."
            )
        return attrs.evolve(self, **options)

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that determines an answer, beside the messages and the sample number.

        Two responders of one identity give interchangeable answers. The default is the name and
        every option that has a value and is not marked `metadata=NOT_IDENTITY`; so an option that
        a later version adds does not lose the answers that were paid for without it.
        """

        def counts(field: attrs.Attribute[Any], value: Any) -> bool:
            return field.metadata.get("identity", True) and value not in (None, ())

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


class Ask(Protocol):
    """How a pairer, a judge or an evaluator asks a responder: paid once, kept for ever."""

    async def __call__(self, responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        """Answer number `sample` of `responder` to `prompt`.

        Numbers keep several answers to one prompt apart; the same number is the same answer.
        """


@attrs.frozen
class Judge(Component):
    """Says how good answers are."""

    role = "judge"

    def __init_subclass__(cls, **rest: Any) -> None:
        """Check what a judge returns wherever it is called, as any pairer may call it."""
        super().__init_subclass__(**rest)
        if "judge" in vars(cls):
            cls.judge = checked_judge(cls.judge)  # type: ignore[method-assign]

    @abstractmethod
    async def judge(self, prompt: Prompt, responses: Sequence[Response], ask: Ask) -> Verdict:
        """Score each response to the prompt.

        Whoever calls it gets a `Verdict` with one score for each response, or a `WrongReturn`.
        """


@attrs.frozen
class Pairer(Component):
    """Turns a prompt into preferences."""

    role = "pairer"

    @abstractmethod
    async def pair(self, prompt: Prompt, ask: Ask) -> Sequence[Pair | NoPair]:
        """Make the pairs of one prompt, or raise `NoPair`.

        Where one pair of several cannot be made, return a `NoPair` in its place: it is recorded
        and counted beside the pairs. Core runs many prompts at once and keeps their order; it
        drops and counts pairs with an empty side or two equal ones.
        """


@attrs.frozen
class Scheduler(Component):
    """Decides which pairs are trained on, and in which order."""

    role = "scheduler"

    @abstractmethod
    def batches(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        """Yield the batches of a whole training, each as whole numbers that index `pairs`.

        The same arguments yield the same batches: a resumed run skips those it has done. Every
        batch but the last of an epoch has `size` indices, and none is empty. Core refuses an
        order that breaks this.
        """


Need = Literal["rejected", "reference", "tokens", "mismatched"]


@attrs.frozen
class Loss(Component):
    """Scores a batch of pairs: lower is better, one number for each pair."""

    role = "loss"
    needs: ClassVar[frozenset[Need]] = frozenset({"rejected", "reference"})
    """What is computed beside the chosen side; a loss pays for nothing that it does not name."""

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of each pair. Shape (pairs,).

        The loss of a pair must not depend on which other pairs are in the batch, as a step may be
        cut anywhere; core tries that once in every training.
        """

    def metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return what to log beside the loss: one number for each pair, by name. Shape (pairs,).

        Called without gradient for every batch that the loss was called with. The mean over all
        pairs since the last line is logged as `LOSS/NAME`, pair weights left aside. A name has no
        blanks, and every batch gives the same names. The default is none.
        """
        return {}

    @property
    def reward_scale(self) -> float:
        """What turns a log-ratio into a reward in the metrics: `beta` where there is one."""
        return float(getattr(self, "beta", 1.0))


@attrs.frozen
class Evaluator(Component):
    """Measures a trained model."""

    role = "evaluator"

    @abstractmethod
    async def evaluate(
        self, model: Responder, prompts: Sequence[Prompt], ask: Ask
    ) -> Mapping[str, Score]:
        """Return scores by name; a name has no blanks.

        `model` is the responder under evaluation: `ask(model, prompt)` is its answer, and
        `model.with_options(temperature=0.0)` answers greedily. `cpt.models.folder_of(model.model)`
        is the folder with its weights, where it has some.
        """


@attrs.frozen
class Observer(Component):
    """Observes a run, with options of its own.

    Its methods are the hooks that observe (`cpt_step_ended` and the like), each marked with
    `@cpt.hookimpl`. What it must remember is in a field with `init=False`.
    """

    role = "observer"


ROLES: dict[str, type[Component]] = {
    cls.role: cls for cls in (Responder, Judge, Pairer, Scheduler, Loss, Evaluator, Observer)
}
