import attrs

import cpt


@attrs.frozen
class Mine(cpt.Loss):
    """Widens the margin."""

    name = "mine"
    beta: float = 0.1
    """Scale of a log-ratio."""

    def __call__(self, batch):
        return 1.0 * (batch.rejected.ratio - batch.chosen.ratio)


@cpt.hookimpl
def cpt_losses():
    return [Mine]
