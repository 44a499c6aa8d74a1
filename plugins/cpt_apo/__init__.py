"""Anchored preference optimization (D'Oosterlinck et al., arXiv 2408.06266)."""

import cpt


@cpt.hookimpl
def cpt_losses() -> dict[str, str]:
    return {
        "apo_zero": "cpt_apo.losses:ApoZero",
        "apo_down": "cpt_apo.losses:ApoDown",
        "apo_hinge_zero": "cpt_apo.losses:ApoHingeZero",
        "apo_zero_unpaired": "cpt_apo.losses:ApoZeroUnpaired",
        "auto": "cpt_apo.auto:Auto",
    }
