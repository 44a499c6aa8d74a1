"""Where the time of a training step goes on a CPU: CPU seconds by kind of operator.

    OMP_NUM_THREADS=1 python benchmarks/operators.py --pairs ladder.jsonl --precision bf16

One thread, so that its clock counts every operator and no other work. *floors* are the seconds over
those of the matrix products alone, at the rate of a large one in the same run. Counting costs about
20 microseconds an operator, which stand under `between`. The first two steps are not counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import material
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from trainers import Sequential

PRODUCTS = {"mm": "products of matrices", "addmm": "products of matrices"}
KINDS = {
    **PRODUCTS,
    **dict.fromkeys(["bmm", "baddbmm"], "products in attention"),
    **dict.fromkeys(["softmax", "_softmax", "_softmax_backward_data"], "softmax in attention"),
    **dict.fromkeys(["_scaled_dot_product_flash_attention_for_cpu"], "attention, fused"),
    **dict.fromkeys(["_to_copy", "copy_", "clone"], "casts and copies"),
    **dict.fromkeys(["log_softmax", "_log_softmax", "exp_"], "softmax of the head"),
    **dict.fromkeys(["_fused_adamw_", "_foreach_norm", "_foreach_mul_"], "optimizer, clipping"),
}
"""Other operators are elementwise, or only look at memory."""


class Count(TorchDispatchMode):
    """Seconds of this thread by kind of operator, and FLOPs of products."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begun = time.thread_time()
        result = func(*args, **(kwargs or {}))
        taken = time.thread_time() - begun
        name = func._schema.name.split("::")[1]
        self.seconds[KINDS.get(name, "elementwise and views")] += taken
        if name in ("mm", "bmm", "baddbmm"):
            left, right = args[-2:]
            self.flops += 2.0 * left.numel() * right.shape[-1]
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--model", choices=material.MODELS, default="40m")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--steps", type=int, default=6, help="the first two are not counted")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        count, seconds = _train(options, Path(scratch))
    steps, floor = options.steps - 2, count.flops / _rate(options.precision)
    between = seconds - sum(count.seconds.values())
    for kind, taken in [*count.seconds.most_common(), ("between", between), ("step", seconds)]:
        print(f"{kind:24}{taken / steps:8.3f} s{taken / seconds:7.1%}{taken / floor:7.2f} floors")


def _train(options: argparse.Namespace, folder: Path) -> tuple[Count, float]:
    """Train, counting all but the first two steps; also the seconds of those."""
    os.environ["CPT_CACHE"] = str(folder / "cache")
    from cpt.training import loop, train
    from cpt.training.options import Training
    from cpt_dpo import Dpo

    pairs = material.read(options.pairs, ["gpt4", "text_davinci_003"])
    material.make_model(options.model, folder / "model")
    vocabulary = min(material.MODELS[options.model]["vocab_size"], 50_000)
    material.make_tokenizer(pairs, vocabulary, folder / "model")
    pairs = material.fitting(pairs, folder / "model", 512)
    wanted = 4 * options.steps
    pairs = material.repeated(pairs, -(-wanted // len(pairs)))[:wanted]
    count, step, spent = Count(), loop._step, []

    def counted(state: Any) -> float:
        if state.done < 2:
            return step(state)
        begun = time.thread_time()
        with count:
            norm = step(state)
        spent.append(time.thread_time() - begun)
        return norm

    loop._step = counted
    train(
        pairs,
        model=folder / "model",
        scheduler=Sequential(),
        loss=Dpo(beta=0.1),
        options=Training(
            batch_size=4,
            max_length=512,
            precision=options.precision,
            device="cpu",
            checkpoint_every=0,
        ),
        seed=0,
        output=folder / "run",
    )
    return count, sum(spent)


def _rate(precision: str) -> float:
    """FLOPs a second of a large product of matrices: the median of nine."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(1536, 1536).to(dtype), torch.randn(1536, 1536).to(dtype)
    taken = []
    for _ in range(9):
        begun = time.thread_time()
        left @ right
        taken.append(time.thread_time() - begun)
    return 2.0 * 1536**3 / sorted(taken)[4]


if __name__ == "__main__":
    main()
