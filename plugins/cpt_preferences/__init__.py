"""Whether a trained model prefers the answers that held-out pairs prefer."""

import cpt


@cpt.hookimpl
def cpt_evaluators() -> dict[str, str]:
    return {"preference_accuracy": "cpt_preferences.accuracy:PreferenceAccuracy"}
