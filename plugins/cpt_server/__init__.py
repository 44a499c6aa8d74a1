"""The `server` responder: any endpoint that speaks OpenAI's chat completions, without an SDK."""

import cpt


@cpt.hookimpl
def cpt_responders() -> dict[str, str]:
    return {"server": "cpt_server.responder:Server"}
