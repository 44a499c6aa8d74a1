"""Pairs from what the users of an application did with its answers."""

import cpt


@cpt.hookimpl
def cpt_pairers() -> dict[str, str]:
    return {"feedback": "cpt_feedback.pairer:Feedback"}
