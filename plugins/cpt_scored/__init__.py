"""Pairs of scored answers: by a judge, or by people."""

import cpt


@cpt.hookimpl
def cpt_pairers() -> dict[str, str]:
    return {
        "judged": "cpt_scored.judged:Judged",
        "rlaif": "cpt_scored.judged:Rlaif",
        "best_of_n": "cpt_scored.best_of_n:BestOfN",
        "human": "cpt_scored.human:Human",
    }
