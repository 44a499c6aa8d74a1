"""Filters: which pairs are left out before training, and why."""

from __future__ import annotations

from collections.abc import Mapping

import cpt


@cpt.hookimpl
def cpt_filters() -> Mapping[str, str]:
    return {
        "active": "cpt_filters.active:Active",
        "balance": "cpt_filters.balance:Balance",
        "decontaminate": "cpt_filters.decontaminate:Decontaminate",
        "difficulty": "cpt_filters.difficulty:Difficulty",
        "duplicates": "cpt_filters.duplicates:Duplicates",
        "flags": "cpt_filters.flags:Flags",
        "language": "cpt_filters.language:Language",
        "length_balance": "cpt_filters.length_balance:LengthBalance",
        "length_ratio": "cpt_filters.length_ratio:LengthRatio",
        "margin_range": "cpt_filters.ranges:MarginRange",
        "refusals": "cpt_filters.refusals:Refusals",
        "score_range": "cpt_filters.ranges:ScoreRange",
    }
