"""Harnesses of others as evaluators: the lm-evaluation-harness, and inspect_ai."""

import cpt


@cpt.hookimpl
def cpt_evaluators() -> dict[str, str]:
    return {"inspect": "cpt_harness.inspect:Inspect", "lm_eval": "cpt_harness.lm_eval:LmEval"}
