"""Answers of a program, domains in turn, and how varied answers are."""

import cpt


@cpt.hookimpl
def cpt_responders() -> dict[str, str]:
    """Offer the responder."""
    return {"program": "cpt_local_program.program:Program"}


@cpt.hookimpl
def cpt_schedulers() -> dict[str, str]:
    """Offer the scheduler."""
    return {"domains": "cpt_local_program.domains:Domains"}


@cpt.hookimpl
def cpt_evaluators() -> dict[str, str]:
    """Offer the evaluator."""
    return {"variety": "cpt_local_program.variety:Variety"}
