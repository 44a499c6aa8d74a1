"""A loss, a pairer, an observer with an option, and a command."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

import cpt

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Hinge(cpt.Loss):
    """Pulls the two apart until their rewards differ by 1, and then stops.

    The normalised hinge of Liu et al., "Statistical Rejection Sampling Improves Preference
    Optimization" (arXiv 2309.06657).
    """

    name = "my_hinge"
    beta: float = 0.1
    """How much reward a nat of log-ratio is."""

    def __call__(self, batch: cpt.Batch) -> "Tensor":
        """Return the loss of each pair. Shape (pairs,)."""
        return (1 - self.beta * (batch.chosen.ratio - batch.rejected.ratio)).relu()


@attrs.frozen
class Brief(cpt.Pairer):
    """Prefers the shorter of two answers by the same model."""

    name = "brief"
    student: cpt.Responder
    """Who answers twice."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        """Ask twice and sort by length; two of the same length are a tie."""
        answers = [(await ask(self.student, prompt, sample)).expect() for sample in range(2)]
        shorter, longer = sorted(answers, key=lambda answer: len(answer.text))
        margin = len(longer.text) - len(shorter.text)
        if not margin:
            raise cpt.NoPair("tie", f"both answers have {len(shorter.text)} characters")
        return [cpt.Pair(prompt=prompt, chosen=shorter, rejected=longer, margin=float(margin))]


@attrs.frozen
class Csv(cpt.Observer):
    """Writes the loss of the training to a CSV file in the run folder."""

    name = "csv"
    every: int = 1
    """A row is written for steps that are a multiple of this."""

    @cpt.hookimpl
    def cpt_metrics_logged(self, output: Path, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row."""
        if step % self.every == 0:
            with (output / "loss.csv").open("a") as file:
                file.write(f"{step},{metrics['loss']:.6f}\n")


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=Path))
def lowest(run: Path) -> None:
    """Print the step with the lowest loss of a RUN that the observer `csv` watched."""
    file = run / "loss.csv"
    if not file.exists():
        raise cpt.CptError(f"{run}: no loss.csv in this folder; train with --observers csv.")
    rows = (line.split(",") for line in file.read_text().splitlines())
    step, loss = min(rows, key=lambda row: float(row[1]))
    click.echo(f"step {step}: {loss}")


@cpt.hookimpl
def cpt_losses() -> list[type[cpt.Loss]]:
    """Offer the loss."""
    return [Hinge]


@cpt.hookimpl
def cpt_pairers() -> list[type[cpt.Pairer]]:
    """Offer the pairer."""
    return [Brief]


@cpt.hookimpl
def cpt_observers() -> list[type[cpt.Observer]]:
    """Offer the observer."""
    return [Csv]


@cpt.hookimpl
def cpt_commands() -> list[click.Command]:
    """Offer the command."""
    return [lowest]
