"""Whether a trained model prefers the answers that held-out pairs prefer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs

import cpt
from cpt_preferences.intervals import clustered, proportion
from cpt_preferences.rewards import Reward, rewards_of

Group = Literal["tier", "source", "length"]
MOST_GROUPS = 8
"""More sources or tiers than this are not shown apart."""


@attrs.frozen
class PreferenceAccuracy(cpt.RunEvaluator):
    """How often the implicit reward of the chosen answer is the higher one, on held-out pairs.

    The implicit reward of an answer is beta * (log pi(y|x) - log pi_ref(y|x)) (Rafailov et al.,
    arXiv 2305.18290, section 4), summed over its tokens, or per token. Ties count half, so the
    accuracy of the model before training is 0.5, and all its rewards are 0. Intervals are at 95%
    and take the pairs of one prompt together, as they are not independent.
    """

    name = "preference_accuracy"
    quality = ("accuracy",)
    needs = frozenset({"pairs"})
    by: tuple[Group, ...] = ("tier", "source", "length")
    """Show the accuracy by these too, where the pairs differ in them."""

    def for_dry_run(self) -> cpt.Evaluator:
        return self

    async def measure(self, evaluation: cpt.Evaluation, ask: cpt.Ask) -> Mapping[str, cpt.Score]:
        from asyncio import to_thread

        rewards, missing = await to_thread(rewards_of, evaluation)
        if not rewards:
            example = next(iter(missing.values()), cpt.Missing("no_pairs"))
            raise cpt.CptError(
                f"the evaluator {self.name!r}: none of the {len(missing)} pairs can be measured "
                f"({example.reason} {example.detail})."
            )
        whole = {
            "accuracy": proportion(rewards, Reward.wins, missing),
            "accuracy_per_token": proportion(rewards, Reward.wins_per_token, missing),
            "margin": clustered(rewards, Reward.margin, missing),
            "margin_per_token": clustered(rewards, Reward.margin_per_token, missing),
            "chosen": clustered(rewards, Reward.of_chosen, missing),
            "rejected": clustered(rewards, Reward.of_rejected, missing),
        }
        return whole | {
            f"accuracy/{name}": proportion(group, Reward.wins)
            for name, group in self._groups(rewards).items()
        }

    def _groups(self, rewards: Sequence[Reward]) -> dict[str, Sequence[Reward]]:
        found: dict[str, Sequence[Reward]] = {}
        for kind in self.by:
            groups = _grouped(rewards, GROUPS[kind])
            if 1 < len(groups) <= MOST_GROUPS:
                found |= {name: groups[name] for name in sorted(groups)}
        return found


def _grouped(
    rewards: Sequence[Reward], name_of: Callable[[Reward], str]
) -> dict[str, list[Reward]]:
    groups: dict[str, list[Reward]] = {}
    for reward in rewards:
        groups.setdefault("_".join(name_of(reward).split()), []).append(reward)
    return groups


def _tier(reward: Reward) -> str:
    return f"tier-{reward.pair.tier}"


def _source(reward: Reward) -> str:
    """What the pairs say of where they are from: `source` beside them, else their pairer."""
    info: Mapping[str, Any] = {**reward.pair.prompt.info, **reward.pair.info}
    return f"source-{info.get('source') or reward.pair.pairer or 'unknown'}"


def _length(reward: Reward) -> str:
    longer = reward.policy.chosen_tokens - reward.policy.rejected_tokens
    return "chosen-longer" if longer > 0 else "chosen-shorter" if longer else "equally-long"


GROUPS: Mapping[Group, Callable[[Reward], str]] = {
    "tier": _tier,
    "source": _source,
    "length": _length,
}
