"""The best step of a training by a held-out metric, and when to stop looking for one."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.errors import CptError
from cpt.roles.evaluator import is_among, labelled
from cpt.training.monitoring import asked, held_out
from cpt.training.monitoring.asked import Evaluate
from cpt.training.monitoring.held_out import PREFIX
from cpt.training.options import Training
from cpt.training.output import checkpoint
from cpt.training.state import State

log = logging.getLogger("cpt")

BEST = "best"
LOSS = f"{PREFIX}loss"
KEPT = 2
"""Best steps on the disk: a killed training continues from before the last one."""


@attrs.frozen(eq=False)
class Watch:
    """Measures a training on held-out pairs and with evaluators. Without any, it does nothing."""

    state: State
    output: Path
    evaluate: Evaluate | None = None
    """Measures with evaluators the model in a folder."""

    def measure_if_due(self) -> dict[str, float]:
        """The metrics of this step if it is measured, else none. Every process calls this."""
        options, pairs = self.state.plan.options, self.state.plan.held_out
        found: dict[str, float] = {}
        if pairs is not None and self._is_due(options.eval_every):
            found |= held_out.measure(self.state, pairs)
        if self.evaluate is not None and self._is_due(options.evaluators_every):
            found |= asked.measure(self.state, self.output, self.evaluate)
        self._note(found)
        return found

    def _is_due(self, every: int | None) -> bool:
        done = self.state.done
        return bool(every) and (not done % (every or 1) or done == self.state.plan.steps)

    @property
    def stops(self) -> bool:
        """Whether the last measurements brought nothing better, as many as were to be waited."""
        patience, best = self.state.plan.options.patience, self.best
        if not patience or best is None:
            return False
        steps = [step for step, _ in self.state.watched]
        return len(steps) - 1 - steps.index(best[0]) >= patience

    @property
    def best(self) -> tuple[int, float] | None:
        """The best measured step and its value; the first of several that are equal."""
        finite = [(step, value) for step, value in self.state.watched if math.isfinite(value)]
        sign = 1 if _is_better_low(self.state.plan.options) else -1
        return min(finite, key=lambda measured: sign * measured[1], default=None)

    def take_best(self) -> dict[str, Any]:
        """Go back to the best step, if that is not the last; what `training.json` says of it.

        Every process calls this, when all steps are done.
        """
        state, best = self.state, self.best
        if best is None:
            return {}
        folder = checkpoint.folder_at(self.output / BEST, best[0])
        if best[0] != state.done and folder.exists():
            checkpoint.load(state.accelerator, folder)
        elif best[0] != state.done:
            log.warning("%s is not there: the model of the last step is exported", folder)
            return {}
        named = {"metric": state.plan.options.keep_best, "value": best[1]}
        return {"best": {"step": best[0], **named}}

    def clear(self) -> None:
        """Remove what was kept of the best steps, once the model is exported."""
        shutil.rmtree(self.output / BEST, ignore_errors=True)

    def _every(self, metric: str) -> int | None:
        options = self.state.plan.options
        asked_for = options.is_asked_for(metric)
        return options.evaluators_every if asked_for else options.eval_every

    def _note(self, found: Mapping[str, float]) -> None:
        state, name = self.state, self.state.plan.options.keep_best
        if not name or not found:
            return
        if name not in found:
            if not self._is_due(self._every(name)):
                return  # of the other kind
            raise CptError(
                f"train.keep_best: there is no {name!r}; this training measures "
                f"{', '.join(sorted(found))}."
            )
        state.watched.append((state.done, found[name]))
        if self.best and self.best[0] == state.done and state.done < state.plan.steps:
            values = {"digest": state.plan.digest, "sums": {}}
            checkpoint.save(state.accelerator, self.output / BEST, state.done, values, KEPT)


def _is_better_low(options: Training) -> bool:
    """Whether a lower `keep_best` is better: the loss, or what an evaluator says so of."""
    name = options.keep_best or ""
    return name == LOSS or any(
        is_among(name.removeprefix(f"{PREFIX}{label}/"), evaluator.lower_is_better)
        for label, evaluator in labelled(options.evaluators)
        if name.startswith(f"{PREFIX}{label}/")
    )
