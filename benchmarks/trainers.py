"""The trainers that are compared, each in a process of its own, one step at a time."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs
import material

from cpt.roles import Loss, Scheduler
from cpt.types import Pair


@attrs.frozen(kw_only=True)
class Task:
    """What both sides train."""

    model: Path
    pairs: Sequence[Pair]
    output: Path
    loss: str
    beta: float
    batch: int
    steps: int
    longest: int
    precision: str
    device: str
    threads: int
    micro_tokens: int | None
    theirs_checkpointed: bool
    """Whether TRL computes activations twice, as it does by default."""
    cached: bool
    """Whether TRL computes its reference before training, as it does not by default."""
    compile: bool
    checkpointing: bool
    """Whether we compute activations twice."""
    warm_up: int = 1
    """The first steps, which are not counted: what is compiled and chosen is so in them."""


@attrs.frozen
class StepReport:
    """What one step cost, and what came of it. The first one is the reference pass."""

    seconds: float
    """CPU seconds on a CPU, else seconds."""
    loss: float = float("nan")
    grad_norm: float = float("nan")
    peak: float = 0.0
    """Most memory so far, in MB: of the process, or on the accelerator."""
    info: dict[str, float] = attrs.field(factory=dict)


class Clock:
    """Reports each step to the other end and waits there for leave to take the next."""

    def __init__(self, task: Task, end: Connection) -> None:
        self.cuda, self.end, self.begun = task.device == "cuda", end, 0.0

    def now(self) -> float:
        if self.cuda:
            import torch

            torch.cuda.synchronize()
            return time.perf_counter()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def peak(self) -> float:
        if self.cuda:
            import torch

            return torch.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    def report(self, seconds: float, **rest: Any) -> None:
        self.end.send(StepReport(seconds, peak=self.peak(), **rest))
        self.end.recv()
        self.begun = self.now()


@attrs.frozen
class Sequential(Scheduler):
    """Pairs as they come."""

    name = "sequential"

    def batches(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        for start in range(0, len(pairs), size):
            yield range(start, min(start + size, len(pairs)))


def ours(task: Task, end: Connection) -> None:
    """This project, as a user runs it."""
    import torch

    torch.set_num_threads(task.threads)
    os.environ["CPT_CACHE"] = str(task.output / "cache")
    from cpt.training import reference_logps, train
    from cpt.training.options import Training

    clock = Clock(task, end)
    rates = _matrix_rates(task, clock)
    compute = reference_logps.references

    def timed(sequences: Any, indices: Any, scorer: Any, *rest: Any) -> Any:
        before = clock.now()
        if task.compile:
            few = [sequences[index] for index in indices[:6]]
            scorer.score(few, few[0])
        begun = clock.now()
        values = compute(sequences, indices, scorer, *rest)
        info = rates | _work(task, sequences) | {"compiling": begun - before}
        clock.report(clock.now() - begun, info=info)
        return values

    reference_logps.references = timed

    def notify(event: str, /, **facts: Any) -> None:
        if event == "cpt_metrics_logged":
            metrics = facts["metrics"]
            seconds = clock.now() - clock.begun
            clock.report(seconds, loss=metrics["loss"], grad_norm=metrics["grad_norm"])

    train(
        task.pairs,
        model=task.model,
        scheduler=Sequential(),
        loss=_loss(task),
        options=Training(
            learning_rate=5e-6,
            lr_schedule="constant",
            warmup=0.0,
            batch_size=task.batch,
            micro_tokens=task.micro_tokens,
            max_length=task.longest,
            precision=task.precision,
            compile=task.compile,
            gradient_checkpointing=task.checkpointing,
            device="cpu" if task.device == "cpu" else "auto",
            log_every=1,
            checkpoint_every=0,
        ),
        seed=0,
        output=task.output,
        notify=notify,
    )


def apart(task: Task, end: Connection) -> None:
    """This project, each pair for itself: nothing of a prompt is computed once for several."""
    from cpt.training import loop, step

    def each_alone(pairs: Iterable[int], corpus: Any, *_: Any) -> list[step.PromptGroup]:
        return [
            step.PromptGroup((pair,), (int(corpus.chosen[pair]), int(corpus.rejected[pair])))
            for pair in pairs
        ]

    loop.group_by_prompt = each_alone
    ours(task, end)


def trl(task: Task, end: Connection) -> None:
    """TRL's DPOTrainer."""
    import torch

    torch.set_num_threads(task.threads)
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOTrainer

    clock = Clock(task, end)
    losses: list[float] = []

    class Gate(TrainerCallback):
        seconds = 0.0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds = clock.now() - clock.begun

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "grad_norm" in logs:
                clock.report(self.seconds, loss=losses[-1], grad_norm=logs["grad_norm"])

    class Trainer(DPOTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            losses.append(float(loss[0] if isinstance(loss, tuple) else loss))
            return loss

    begun = clock.now()
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(task.model),
        train_dataset=datasets.Dataset.from_list(material.conversations(task.pairs)),
        callbacks=[Gate()],
        args=_trl_options(task),
    )
    clock.report(clock.now() - begun)
    trainer.train()


def _trl_options(task: Task) -> Any:
    from trl import DPOConfig

    return DPOConfig(
        output_dir=str(task.output / "trl"),
        learning_rate=5e-6,
        lr_scheduler_type="constant",
        per_device_train_batch_size=task.batch,
        num_train_epochs=1,
        max_length=task.longest,
        beta=task.beta,
        loss_type=[{"dpo": "sigmoid"}.get(task.loss, task.loss)],
        bf16=task.precision == "bf16",
        gradient_checkpointing=task.theirs_checkpointed,
        precompute_ref_log_probs=task.cached,
        train_sampling_strategy="sequential",
        optim="adamw_torch_fused",
        use_cpu=task.device == "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


TRAINERS: dict[str, Callable[[Task, Connection], None]] = {"cpt": ours, "apart": apart, "trl": trl}


def _loss(task: Task) -> Loss:
    from cpt_apo.losses import ApoDown, ApoZero
    from cpt_dpo import Dpo

    losses: dict[str, Callable[..., Loss]] = {
        "dpo": Dpo,
        "apo_zero": ApoZero,
        "apo_down": ApoDown,
    }
    return losses[task.loss](beta=task.beta)


def _matrix_rates(task: Task, clock: Clock) -> dict[str, float]:
    """FLOPs a second, as `clock` has it, of products shaped as the body's and the head's."""
    import torch

    shape = _config(task)
    inner, vocabulary = shape.intermediate_size, shape.vocab_size
    dtype = torch.float32 if task.precision == "fp32" else torch.bfloat16
    hidden = torch.randn(1500, shape.hidden_size, device=task.device).to(dtype)
    rates = {}
    for name, sequences, repeats in (("body", inner, 20), ("head", vocabulary, 1)):
        weight = torch.randn(shape.hidden_size, sequences, device=task.device).to(dtype)
        out = hidden @ weight
        taken = []
        for _ in range(7):
            begun = clock.now()
            for _ in range(repeats):
                torch.mm(hidden, weight, out=out)
            taken.append((clock.now() - begun) / repeats)
        rates[name] = 2.0 * hidden.numel() * sequences / sorted(taken)[len(taken) // 2]
    return rates


def _work(task: Task, sequences: Iterable[Any]) -> dict[str, float]:
    """FLOPs of one forward pass over all sequences, none shared, without padding; and tokens."""
    shape = _config(task)
    width, heads = shape.head_dim, shape.num_attention_heads
    projections = shape.hidden_size * width * (2 * heads + 2 * shape.num_key_value_heads)
    layer = projections + 3 * shape.hidden_size * shape.intermediate_size
    sequences = list(sequences)
    tokens = sum(sequence.input_length for sequence in sequences)
    seen = sum(sequence.input_length**2 / 2 for sequence in sequences)
    body = shape.num_hidden_layers * (2 * layer * tokens + 4 * heads * width * seen)
    answers = sum(len(sequence.answer) for sequence in sequences)
    head = 2.0 * shape.hidden_size * shape.vocab_size * answers
    return {"body_flops": body, "head_flops": head, "tokens": tokens, "answer_tokens": answers}


def _config(task: Task) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(task.model)
