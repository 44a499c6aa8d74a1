"""Judges, and an evaluator that asks one."""

import sys

import cpt


@cpt.hookimpl
def cpt_judges() -> dict[str, str]:
    return {
        "checker": "cpt_judges.checker:Checker",
        "ensemble": "cpt_judges.ensemble:Ensemble",
        "llm": "cpt_judges.llm:Llm",
        "pairwise": "cpt_judges.pairwise:Pairwise",
        "recorded": "cpt_judges.recorded:RecordedJudge",
        "reward_model": "cpt_judges.reward_model:RewardModel",
        "verifiable": "cpt_judges.verifiable:Verifiable",
    }


@cpt.hookimpl
def cpt_evaluators() -> dict[str, str]:
    return {"judged": "cpt_judges.judged:Judged"}


@cpt.hookimpl
def cpt_stage_ended() -> None:
    if reward_model := sys.modules.get("cpt_judges.reward_model"):
        reward_model.let_go()  # the next stage may train
