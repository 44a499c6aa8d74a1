"""The `openai` responder: OpenAI's chat completions, and every endpoint compatible with them."""

import cpt


@cpt.hookimpl
def cpt_responders() -> dict[str, str]:
    return {"openai": "cpt_openai.responder:OpenAI"}
