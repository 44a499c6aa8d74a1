"""Evaluators that need no judge: a program checks the answer."""

import cpt


@cpt.hookimpl
def cpt_evaluators() -> dict[str, str]:
    return {
        "health": "cpt_checks.health:Health",
        "scored_qa": "cpt_checks.scored_qa:ScoredQa",
        "verifiable": "cpt_checks.verifiable:Verifiable",
    }
