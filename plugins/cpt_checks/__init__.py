"""Evaluators that need no judge: a program checks the answer."""

from __future__ import annotations

import cpt
from cpt_checks.health import Health
from cpt_checks.scored_qa import ScoredQa
from cpt_checks.verifiable import Verifiable

__all__ = ["Health", "ScoredQa", "Verifiable"]


@cpt.hookimpl
def cpt_evaluators() -> list[type[cpt.Evaluator]]:
    return [Health, ScoredQa, Verifiable]
