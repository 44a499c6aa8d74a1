"""A model on this machine, run with transformers."""

import cpt


@cpt.hookimpl
def cpt_responders() -> dict[str, str]:
    return {"transformers": "cpt_transformers.responder:Transformers"}
