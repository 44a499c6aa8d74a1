"""Losses that people train with beside DPO, APO, SLiC and SFT: one module for each family."""

import cpt


@cpt.hookimpl
def cpt_losses() -> dict[str, str]:
    return {
        "bco": "cpt_losses.pointwise:Bco",
        "beta_dpo": "cpt_losses.shaped:BetaDpo",
        "bradley_terry": "cpt_losses.reward:BradleyTerry",
        "cdpo": "cpt_losses.noise:Cdpo",
        "cpo": "cpt_losses.reference_free:Cpo",
        "d2po": "cpt_losses.length:D2po",
        "discopop": "cpt_losses.shaped:DiscoPop",
        "dpo_norm": "cpt_losses.length:DpoNorm",
        "dpo_shift": "cpt_losses.shaped:DpoShift",
        "dpop": "cpt_losses.shaped:Dpop",
        "exo": "cpt_losses.shaped:Exo",
        "focalpo": "cpt_losses.shaped:FocalPo",
        "hinge": "cpt_losses.targets:Hinge",
        "ipo": "cpt_losses.targets:Ipo",
        "kto": "cpt_losses.pointwise:Kto",
        "ld_dpo": "cpt_losses.length:LdDpo",
        "nca": "cpt_losses.pointwise:Nca",
        "orpo": "cpt_losses.reference_free:Orpo",
        "robust": "cpt_losses.noise:Robust",
        "simpo": "cpt_losses.reference_free:SimPo",
        "sppo": "cpt_losses.targets:Sppo",
        "wpo": "cpt_losses.shaped:Wpo",
    }
