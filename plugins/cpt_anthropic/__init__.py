"""The `anthropic` responder: Claude, over Anthropic's Messages API."""

import cpt


@cpt.hookimpl
def cpt_responders() -> dict[str, str]:
    return {"anthropic": "cpt_anthropic.responder:Anthropic"}
