"""What a loss sees: log-probabilities of both sides of some pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from cpt.errors import CptError
from cpt.types.pairs import Pair

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@attrs.frozen(eq=False, kw_only=True)
class TokenLogps:
    """Log-probabilities token by token, padded to the longest response of the batch."""

    policy: Tensor
    """Shape (pairs, seq_len)."""
    reference: Tensor | None = None
    """Shape (pairs, seq_len)."""
    mask: Tensor
    """True where a token belongs to the response. Shape (pairs, seq_len)."""

    def select(self, pairs: slice | Tensor) -> TokenLogps:
        """Those of some of the pairs, given as a slice or as indices."""
        reference = None if self.reference is None else self.reference[pairs]
        return TokenLogps(policy=self.policy[pairs], reference=reference, mask=self.mask[pairs])

    def where(self, present: Tensor) -> TokenLogps:
        """The same, but without a token where `present` is False. Shape of `present`: (pairs,)."""
        blank = ~present.unsqueeze(1)
        reference = None if self.reference is None else self.reference.masked_fill(blank, 0.0)
        return TokenLogps(
            policy=self.policy.masked_fill(blank, 0.0),
            reference=reference,
            mask=self.mask & present.unsqueeze(1),
        )


@attrs.frozen(eq=False, kw_only=True)
class Logps:
    """Log-probabilities of one side of a batch, summed over the tokens of each response."""

    policy: Tensor
    """log pi(y|x) under the model being trained. Shape (pairs,)."""
    length: Tensor
    """Tokens in each response. Shape (pairs,)."""
    _reference: Tensor | None = None
    _tokens: TokenLogps | None = None
    _present: Tensor | None = None
    _scored: bool = False

    @property
    def score(self) -> Tensor:
        """The score of each response under the reward model that is trained. Shape (pairs,)."""
        return _needed(self.policy if self._scored else None, "score")

    @property
    def present(self) -> Tensor:
        """Whether there is an answer on this side: unpaired data lacks one. Shape (pairs,).

        Where there is none, log-probabilities are 0 and the length is 1.
        """
        if self._present is not None:
            return self._present
        return self.length > 0

    @property
    def reference(self) -> Tensor:
        """log pi_ref(y|x) under the frozen reference. Shape (pairs,)."""
        return _needed(self._reference, "reference")

    @property
    def ratio(self) -> Tensor:
        """log pi(y|x) - log pi_ref(y|x). Shape (pairs,)."""
        return self.policy - self.reference

    @property
    def mean(self) -> Tensor:
        """log pi(y|x) per token. Shape (pairs,)."""
        return self.policy / self.length

    @property
    def tokens(self) -> TokenLogps:
        """The same token by token."""
        return _needed(self._tokens, "tokens")

    def select(self, pairs: slice | Tensor) -> Logps:
        """Those of some of the pairs, given as a slice or as indices."""
        return Logps(
            policy=self.policy[pairs],
            length=self.length[pairs],
            reference=None if self._reference is None else self._reference[pairs],
            tokens=None if self._tokens is None else self._tokens.select(pairs),
            present=None if self._present is None else self._present[pairs],
            scored=self._scored,
        )

    def where(self, present: Tensor) -> Logps:
        """The same, but that there is no answer where `present` is False."""
        blank = ~present
        reference, tokens = self._reference, self._tokens
        return Logps(
            policy=self.policy.masked_fill(blank, 0.0),
            length=self.length.masked_fill(blank, 1),
            reference=None if reference is None else reference.masked_fill(blank, 0.0),
            tokens=None if tokens is None else tokens.where(present),
            present=present,
            scored=self._scored,
        )


@attrs.frozen(kw_only=True)
class PairFacts:
    """All that a loss sees of a pair beside log-probabilities."""

    id: str
    prompt_info: Mapping[str, Any]
    tier: int
    margin: float | None
    chosen_score: float | None
    rejected_score: float | None

    @classmethod
    def of(cls, pair: Pair) -> PairFacts:
        return cls(
            id=pair.id,
            prompt_info=pair.prompt.info,
            tier=pair.tier,
            margin=pair.margin,
            chosen_score=pair.chosen_score,
            rejected_score=pair.rejected_score,
        )


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """What a loss sees of some pairs. It may gain fields; it will not lose any."""

    ids: tuple[str, ...]
    """The id of each pair."""
    prompt_infos: tuple[Mapping[str, Any], ...]
    """`Prompt.info` of each pair: the other columns of its prompt."""
    chosen: Logps
    _rejected: Logps | None = None
    tier: Tensor
    """`Pair.tier`, whole numbers: 1 is the hardest to tell, 0 is unknown. Shape (pairs,)."""
    margin: Tensor
    """`Pair.margin`, how clear each preference is; NaN where unknown. Shape (pairs,)."""
    chosen_score: Tensor
    """`Pair.chosen_score`; NaN where unknown. Shape (pairs,)."""
    rejected_score: Tensor
    """`Pair.rejected_score`; NaN where unknown. Shape (pairs,)."""
    progress: float = 0.0
    """How far training has come, from 0 at the first step to 1 at the last."""
    carried: Mapping[str, float] = attrs.field(factory=dict)
    """What `Loss.carry` made of the steps before; empty at the first step."""
    _mismatched: Logps | None = None

    @property
    def is_unpaired(self) -> bool:
        """Whether some pair of the training has one side alone."""
        marked: Tensor | None = self.chosen._present
        return marked is not None

    @property
    def rejected(self) -> Logps:
        """Log-probabilities of the rejected side."""
        return _needed(self._rejected, "rejected")

    @property
    def mismatched(self) -> Logps:
        """Each prompt with another prompt's chosen response, to estimate a KL divergence.

        Of all pairs of the optimizer step, however it is cut, and without gradient. Shape (step,).
        """
        return _needed(self._mismatched, "mismatched")

    def select(self, pairs: slice) -> Batch:
        """The batch of some of the pairs; `mismatched` stays that of the whole step."""
        return Batch(
            ids=self.ids[pairs],
            prompt_infos=self.prompt_infos[pairs],
            chosen=self.chosen.select(pairs),
            rejected=None if self._rejected is None else self._rejected.select(pairs),
            tier=self.tier[pairs],
            margin=self.margin[pairs],
            chosen_score=self.chosen_score[pairs],
            rejected_score=self.rejected_score[pairs],
            progress=self.progress,
            carried=self.carried,
            mismatched=self._mismatched,
        )


def _needed(value: T | None, need: str) -> T:
    if value is None:
        raise CptError(f"This loss reads {need!r} but does not name it in its `needs`.")
    return value
