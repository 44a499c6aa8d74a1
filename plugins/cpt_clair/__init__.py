"""Contrastive learning from AI revisions (D'Oosterlinck et al., arXiv 2408.06266)."""

import cpt


@cpt.hookimpl
def cpt_pairers() -> dict[str, str]:
    return {"clair": "cpt_clair.pairer:Clair"}
