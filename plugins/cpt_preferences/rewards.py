"""Implicit rewards of pairs: how much likelier a model finds an answer than its reference does."""

from __future__ import annotations

import attrs

import cpt

Missing = dict[str, cpt.Missing]


@attrs.frozen
class Reward:
    """The implicit rewards of one pair."""

    pair: cpt.Pair
    policy: cpt.PairLogps
    reference: cpt.PairLogps
    scale: float
    """Beta: what a log-ratio is multiplied by."""

    def of_chosen(self) -> float:
        return self.scale * (self.policy.chosen - self.reference.chosen)

    def of_rejected(self) -> float:
        return self.scale * (self.policy.rejected - self.reference.rejected)

    def margin(self) -> float:
        return self.of_chosen() - self.of_rejected()

    def margin_per_token(self) -> float:
        chosen = self.of_chosen() / self.policy.chosen_tokens
        return chosen - self.of_rejected() / self.policy.rejected_tokens

    def wins(self) -> float:
        return _wins(self.margin())

    def wins_per_token(self) -> float:
        return _wins(self.margin_per_token())


def _wins(margin: float) -> float:
    """1 if it is above 0, 0.5 if it is 0."""
    return (float(margin > 0) + float(margin >= 0)) / 2


def rewards_of(evaluation: cpt.Evaluation) -> tuple[list[Reward], Missing]:
    """The rewards of the evaluation's pairs; of a pair without any the reason, by its id."""
    if not evaluation.model.model:
        raise cpt.CptError(
            f"implicit rewards need a model's weights, and the generator "
            f"{evaluation.model.name!r} has none; choose --generator transformers."
        )
    policy = evaluation.logps_of(evaluation.pairs, evaluation.model.model)
    reference = evaluation.logps_of(evaluation.pairs, evaluation.reference)
    rewards: list[Reward] = []
    missing: Missing = {}
    for pair in evaluation.pairs:
        sides = policy[pair.id], reference[pair.id]
        reason = next((side for side in sides if isinstance(side, cpt.Missing)), None)
        if reason:
            missing[pair.id] = reason
            continue
        ours, theirs = (side for side in sides if isinstance(side, cpt.PairLogps))
        rewards.append(Reward(pair, ours, theirs, evaluation.reward_scale))
    return rewards, missing
