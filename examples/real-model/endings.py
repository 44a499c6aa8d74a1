"""How ready a model is to end an answer, before and after training on pairs.

    python examples/real-model/endings.py runs/real-model/full/clair-0

Prints how many chosen sides are longer than their rejected ones, and for each model the mean
log-probability of the end of the turn where the two sides of the held-out pairs ended.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import cpt

BASE = Path("runs/real-model/smollm2")


def main(run: Path) -> None:
    pairs = cpt.read_pairs(str(run / "pairs.parquet"))
    held_out = cpt.read_pairs(str(run / "held_out.parquet"))
    longer = sum(len(pair.chosen.text) > len(pair.rejected.text) for pair in pairs)
    print(f"{longer} of {len(pairs)} chosen sides are longer")
    models = {"before": BASE, "model": run / "model"}
    models |= {path.name: path / "model" for path in sorted((run / "controls").iterdir())}
    for name, folder in models.items():
        chosen = mean_end(folder, [pair.chosen for pair in held_out], held_out)
        rejected = mean_end(folder, [pair.rejected for pair in held_out], held_out)
        print(f"{name}: log p(end) after the chosen side {chosen:.2f}, the rejected {rejected:.2f}")


@torch.no_grad()
def mean_end(folder: Path, answers: Sequence[cpt.Response], pairs: Sequence[cpt.Pair]) -> float:
    """The mean of log p(end of the turn | prompt, answer)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = []
    for answer, pair in zip(answers, pairs, strict=True):
        prompt = tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in pair.prompt.messages],
            add_generation_prompt=True,
            tokenize=False,
        )
        ids = tokenizer(prompt + answer.text, add_special_tokens=False, return_tensors="pt")
        logps = model(input_ids=ids.input_ids).logits[0, -1].float().log_softmax(-1)
        found.append(float(logps[tokenizer.eos_token_id]))
    return fmean(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
