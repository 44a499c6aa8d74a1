"""Pairs from models of different strength (Xu et al., arXiv 2310.02263)."""

import cpt


@cpt.hookimpl
def cpt_pairers() -> dict[str, str]:
    return {"ladder": "cpt_ladder.pairer:Ladder", "stronger": "cpt_ladder.stronger:Stronger"}
