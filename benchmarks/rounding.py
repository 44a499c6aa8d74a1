"""What bf16 costs in exactness: the same training in fp32 and in bf16, step by step.

    python benchmarks/rounding.py --pairs ladder.jsonl

Both begin with the same weights. Two more losses are printed: of what the bf16 training has
learned, computed in fp32; and of what the fp32 training has learned, its matrices rounded to bf16
and multiplied in fp32. So the first shows how far the weights differ, and the second how much of
the difference of a loss in bf16 comes from the rounding of the weights alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import material
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from cpt.models import load_tokenizer
from cpt.training.data.packing import model_inputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.data.tokens import encode
from cpt.training.forward.loading.model import load_model
from cpt.training.forward.logps import SequenceLogps

BATCH, BETA, RATE = 4, 0.1, 5e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="jsonl: a ladder's sequences")
    parser.add_argument("--authors", nargs=2, default=["gpt4", "text_davinci_003"])
    parser.add_argument("--model", choices=material.MODELS, default="40m")
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        batches = _batches(options, folder)
        exact, own = (Trained(folder, precision) for precision in ("fp32", "bf16"))
        print("step      fp32           bf16   bf16 learned   fp32 rounded")
        for number, batch in enumerate(batches, 1):
            learned = own.loss(batch, "fp32")
            with rounded(exact.policy), rounded(exact.reference):
                coarse = exact.loss(batch, "fp32")
            loss = exact.step(batch)
            apart = "".join(
                f"{other - loss:+15.1e}" for other in (own.step(batch), learned, coarse)
            )
            print(f"{number:4}{loss:10.6f}{apart}", flush=True)


def _batches(options: argparse.Namespace, folder: Path) -> list[list[list[TokenSequence]]]:
    pairs = material.read(options.pairs, options.authors)
    material.make_model(options.model, folder)
    vocabulary = min(material.MODELS[options.model]["vocab_size"], 50_000)
    material.make_tokenizer(pairs, vocabulary, folder)
    pairs = material.fitting(pairs[: 4 * BATCH * options.steps], folder, 512)
    sequences = [
        [TokenSequence(encoded.prompt, side.ids) for side in (encoded.chosen, encoded.rejected)]
        for encoded in encode(pairs[: BATCH * options.steps], load_tokenizer(folder))
    ]
    return [sequences[start : start + BATCH] for start in range(0, len(sequences), BATCH)]


class Trained:
    """A policy, its reference and its optimizer, in one precision."""

    def __init__(self, folder: Path, precision: str) -> None:
        self.precision = precision
        self.policy, self.reference = (SequenceLogps(load_model(folder)) for _ in range(2))
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=RATE, weight_decay=0.0)

    def step(self, batch: Sequence[Sequence[TokenSequence]]) -> float:
        """The loss before the step."""
        loss = self._loss(batch, self.precision)
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    @torch.no_grad()
    def loss(self, batch: Sequence[Sequence[TokenSequence]], precision: str) -> float:
        return float(self._loss(batch, precision))

    def _loss(self, batch: Sequence[Sequence[TokenSequence]], precision: str) -> Tensor:
        """DPO's (2305.18290, equation 7)."""
        with torch.no_grad():
            reference = _sums(self.reference, batch, precision)
        ratio = _sums(self.policy, batch, precision) - reference
        return -logsigmoid(BETA * (ratio[:, 0] - ratio[:, 1])).mean()


def _sums(model: SequenceLogps, batch: Sequence[Sequence[TokenSequence]], precision: str) -> Tensor:
    """Log-probabilities of the answers. Shape (pairs, 2)."""
    (inputs,) = model_inputs(batch, 1_000_000, model.layout)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return inputs.sums(model(inputs)).view(-1, 2)


@contextmanager
def rounded(model: nn.Module) -> Iterator[None]:
    """Weights of linear layers as bf16 has them, inside the block."""
    weights = {module.weight for module in model.modules() if isinstance(module, nn.Linear)}
    before = {weight: weight.detach().clone() for weight in weights}
    with torch.no_grad():
        for weight in weights:
            weight.copy_(weight.bfloat16())
        yield
        for weight, values in before.items():
            weight.copy_(values)


if __name__ == "__main__":
    main()
