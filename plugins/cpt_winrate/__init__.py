"""How often a model's answers are preferred to another's."""

import cpt


@cpt.hookimpl
def cpt_evaluators() -> dict[str, str]:
    return {"win_rate": "cpt_winrate.evaluator:WinRate"}
