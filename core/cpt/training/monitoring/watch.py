"""The best step of a training by a metric of held-out pairs, and when to stop looking for one."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.errors import CptError
from cpt.training.monitoring.held_out import PREFIX, measure
from cpt.training.output import checkpoint
from cpt.training.state import State

log = logging.getLogger("cpt")

BEST = "best"
LOWER = f"{PREFIX}loss"
"""The metric that is best where it is lowest; all others where they are highest."""
KEPT = 2
"""Best steps on the disk: a killed training goes on from before the last one."""


@attrs.frozen(eq=False)
class Watch:
    """Measures a training on held-out pairs. Without any, it does nothing."""

    state: State
    output: Path

    def measure_if_due(self) -> dict[str, float]:
        """The metrics of this step if it is measured, else none. Every process calls this."""
        options, done = self.state.plan.options, self.state.done
        held_out = self.state.plan.held_out
        if not options.eval_every or held_out is None:
            return {}
        if done % options.eval_every and done != self.state.plan.steps:
            return {}
        found = measure(self.state, held_out)
        self._note(found)
        return found

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
        sign = 1 if self.state.plan.options.keep_best == LOWER else -1
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

    def _note(self, found: Mapping[str, float]) -> None:
        state, name = self.state, self.state.plan.options.keep_best
        if not name:
            return
        if name not in found:
            raise CptError(
                f"train.keep_best: there is no {name!r}; this training measures "
                f"{', '.join(sorted(found))}."
            )
        state.watched.append((state.done, found[name]))
        if self.best and self.best[0] == state.done and state.done < state.plan.steps:
            values = {"digest": state.plan.digest, "sums": {}}
            checkpoint.save(state.accelerator, self.output / BEST, state.done, values, KEPT)
