"""Judges that score each answer by itself, and an evaluator that asks one."""

from __future__ import annotations

import cpt
from cpt_judges.judged import Judged
from cpt_judges.llm import Llm
from cpt_judges.reward_model import RewardModel

__all__ = ["Judged", "Llm", "RewardModel"]


@cpt.hookimpl
def cpt_judges() -> list[type[cpt.Judge]]:
    return [Llm, RewardModel]


@cpt.hookimpl
def cpt_evaluators() -> list[type[cpt.Evaluator]]:
    return [Judged]
