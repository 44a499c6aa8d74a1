"""Losses that people train with beside DPO, APO, SLiC and SFT: one module for each family."""

from __future__ import annotations

import cpt
from cpt_losses.length import D2po, DpoNorm, LdDpo
from cpt_losses.noise import Cdpo, Robust
from cpt_losses.pointwise import Bco, Kto, Nca
from cpt_losses.reference_free import Cpo, Orpo, SimPo
from cpt_losses.reward import BradleyTerry
from cpt_losses.shaped import BetaDpo, DiscoPop, Dpop, DpoShift, Exo, FocalPo, Wpo
from cpt_losses.targets import Hinge, Ipo, Sppo

__all__ = [
    "Bco",
    "BetaDpo",
    "BradleyTerry",
    "Cdpo",
    "Cpo",
    "D2po",
    "DiscoPop",
    "DpoNorm",
    "DpoShift",
    "Dpop",
    "Exo",
    "FocalPo",
    "Hinge",
    "Ipo",
    "Kto",
    "LdDpo",
    "Nca",
    "Orpo",
    "Robust",
    "SimPo",
    "Sppo",
    "Wpo",
]


@cpt.hookimpl
def cpt_losses() -> list[type[cpt.Loss]]:
    return [
        *(DpoNorm, SimPo, Kto, Orpo, Ipo, Wpo, Cpo, Robust, Cdpo, Dpop, LdDpo, Nca, Exo, Bco),
        *(Sppo, DiscoPop, BetaDpo, DpoShift, FocalPo, Hinge, D2po, BradleyTerry),
    ]
