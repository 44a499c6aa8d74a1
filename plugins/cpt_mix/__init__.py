"""Several pairers for one set of prompts."""

import cpt


@cpt.hookimpl
def cpt_pairers() -> dict[str, str]:
    return {"mix": "cpt_mix.pairer:Mix"}
