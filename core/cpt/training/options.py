"""How a model is trained, whatever the loss."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

import attrs
from attrs.validators import and_, ge, gt, lt, optional

from cpt.roles import NOT_IDENTITY, PATH, Evaluator
from cpt.roles.evaluator import labelled
from cpt.training.kinds import KINDS

RESERVED = frozenset(
    {"add_generation_prompt", "continue_final_message", "conversation", "messages", "tools"}
    | {"chat_template", "padding", "return_dict", "return_tensors", "tokenize", "truncation"}
    | {"max_length", "return_assistant_tokens_mask", "tokenizer_kwargs"}
)
"""Arguments of a chat template, and of what applies it, that are not the user's."""
LrSchedule = Literal[
    "linear",
    "cosine",
    "constant",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
    "constant_with_warmup",
    "warmup_stable_decay",
]
Precision = Literal["fp32", "bf16", "fp8"]
Weights = Literal["fp32", "bf16", "nf4"]
Optimizer = Literal["adamw", "adamw_8bit", "adamw_4bit", "adamw_fp8"]
ExportDtype = Literal["auto", "base", "fp32", "bf16", "fp16"]


@attrs.frozen(kw_only=True)
class Training:
    """How to train, whatever the loss."""

    learning_rate: float = attrs.field(default=1e-6, validator=gt(0.0))
    """Highest learning rate; with LoRA, about ten times as much is usual."""
    lr_schedule: LrSchedule = "linear"
    """How the learning rate continues after the warm-up, by transformers' names."""
    lr_schedule_kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    """What transformers' schedule of that name takes, such as `min_lr_rate: 0.1`."""
    warmup: float = attrs.field(default=0.1, validator=and_(ge(0.0), lt(1.0)))
    """Share of the steps over which the learning rate rises from zero."""
    epochs: int = attrs.field(default=1, validator=ge(1))
    """Times that every pair is seen."""
    batch_size: int = attrs.field(default=64, validator=ge(1))
    """Pairs in an optimizer step, over all processes together."""
    micro_tokens: int | None = attrs.field(
        default=None, validator=optional(ge(1)), metadata=NOT_IDENTITY
    )
    """Tokens per forward pass (default 8192; 2048 on a CPU); fewer save memory."""
    weight_decay: float = attrs.field(default=0.0, validator=ge(0.0))
    """AdamW's decay of matrices; biases and norms are never decayed."""
    beta1: float = attrs.field(default=0.9, validator=and_(ge(0.0), lt(1.0)))
    """AdamW's beta1."""
    beta2: float = attrs.field(default=0.999, validator=and_(ge(0.0), lt(1.0)))
    """AdamW's beta2."""
    max_grad_norm: float = attrs.field(default=1.0, validator=gt(0.0))
    """Gradients are clipped to this norm."""
    max_length: int = attrs.field(default=2048, validator=ge(2))
    """Most tokens in a prompt and one answer together, at most the model's own limit."""
    max_prompt_length: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Most tokens in a prompt; longer ones are dropped, as a cut prompt is another prompt."""
    truncate: bool = False
    """Cut both answers of a pair that are both too long instead of dropping the pair."""
    allow: tuple[str, ...] = attrs.field(default=(), metadata=NOT_IDENTITY)
    """Kinds of findings of `cpt doctor` that do not stop the training, such as `scored_below`."""
    eval_every: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Steps between two measurements on the held-out pairs, logged as `eval/...`."""
    evaluators: tuple[Evaluator, ...] = attrs.field(default=())
    """Measure the model as it is trained, too; repeat the flag for several."""
    evaluators_every: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Steps between two measurements with `train.evaluators`, logged as `eval/EVALUATOR/SCORE`."""
    evaluators_limit: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Ask only the first so many of `eval_prompts` each time; as many as in the end if unset."""
    keep_best: str | None = attrs.field(default=None)
    """Export the measured step where this is best, such as `eval/loss`, not the last one."""
    patience: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Stop after so many measurements in a row without a better `keep_best`."""
    chat_template_kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    """What the chat template is given beside the messages, such as `enable_thinking: false`."""
    precision: Precision = "fp32"
    """What matrices are multiplied in; `fp8` (torchao) those of layers, and the rest in bf16."""
    weights: Weights = attrs.field(default="fp32")
    """Format of the weights; `bf16` is rounded at random, `nf4` (QLoRA) is of frozen ones."""
    optimizer: Optimizer = "adamw"
    """AdamW with moments in fp32, or in torchao's 8 bits, 4 bits or fp8."""
    export_dtype: ExportDtype = "auto"
    """Format of the written weights; `auto`: the base's, or fp32 if rounding loses over 5%."""
    gradient_checkpointing: bool | None = attrs.field(default=None, metadata=NOT_IDENTITY)
    """Compute activations twice to keep fewer, a third slower; by default where it fits only so."""
    compile: bool = False
    """Compile layers, unless rows are padded: a minute at the start, then less memory or time."""
    router_aux_loss: float | None = attrs.field(default=None, validator=optional(ge(0.0)))
    """Weight of a MoE's load-balancing loss (`router_aux_loss_coef` of its own); 0 only logs it."""
    lora_rank: int = attrs.field(default=0, validator=ge(0))
    """Rank of LoRA adapters; 0 trains all weights."""
    lora_alpha: float | None = attrs.field(default=None, validator=optional(gt(0.0)))
    """Scale of the adapters; twice the rank if not given."""
    lora_targets: tuple[str, ...] = ()
    """Names of the layers that get adapters; all linear ones if not given."""
    dora: bool = attrs.field(default=False)
    """Let adapters learn the length of each column apart from its direction (DoRA)."""
    reference: str | None = attrs.field(default=None, metadata=PATH)
    """Folder of the reference model, if it is not the model that training starts from."""
    trust_remote_code: bool = attrs.field(default=False, metadata=NOT_IDENTITY)
    """Run the Python code in the model's folder, for models that transformers does not have."""
    device: Literal["auto", "cpu"] = attrs.field(default="auto", metadata=NOT_IDENTITY)
    """Where to train: an accelerator if there is one, or the CPU in any case."""
    log_every: int = attrs.field(default=10, validator=ge(1), metadata=NOT_IDENTITY)
    """Steps between two lines of metrics, each the mean over the steps since the last."""
    checkpoint_every: int = attrs.field(default=100, validator=ge(0), metadata=NOT_IDENTITY)
    """Steps between two checkpoints; 0 keeps none."""
    keep_checkpoints: int = attrs.field(default=2, validator=ge(1), metadata=NOT_IDENTITY)
    """Checkpoints that are kept, the latest ones."""

    @router_aux_loss.validator
    def _recordable(self, _: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and self.compile:
            raise ValueError("'router_aux_loss' must be unset with compile, which hides the router")

    @allow.validator
    def _known(self, _: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
        if unknown := [name for name in value if name not in KINDS]:
            near = get_close_matches(unknown[0], KINDS, n=1) or KINDS
            raise ValueError(
                f"'allow' must name kinds of findings, not {unknown[0]}; there is {', '.join(near)}"
            )

    @chat_template_kwargs.validator
    def _free(self, _: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
        if taken := sorted({*value} & RESERVED):
            raise ValueError(
                f"'chat_template_kwargs' must not hold {', '.join(taken)}, which cpt gives itself"
            )

    @weights.validator
    def _computable(self, _: attrs.Attribute[Any], value: Weights) -> None:
        if value != "fp32" and self.precision == "fp32":
            raise ValueError(f"'weights' must be fp32 with precision fp32; {value} needs bf16")
        if value == "nf4" and not self.lora_rank:
            raise ValueError("'weights' must not be nf4 without lora_rank: they are frozen")

    @lora_rank.validator
    def _trains_what_is_multiplied(self, _: attrs.Attribute[Any], value: int) -> None:
        if value and self.precision == "fp8":
            raise ValueError("'lora_rank' must be 0 with precision fp8, which is for all weights")

    @dora.validator
    def _has_adapters(self, _: attrs.Attribute[Any], value: bool) -> None:
        if value and not self.lora_rank:
            raise ValueError("'dora' must be false without lora_rank")

    @lr_schedule_kwargs.validator
    def _taken(self, _: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
        if value and self.lr_schedule in ("linear", "constant", "constant_with_warmup"):
            raise ValueError(
                f"'lr_schedule_kwargs' must be empty, as {self.lr_schedule} takes nothing"
            )

    @keep_best.validator
    def _is_measured(self, _: attrs.Attribute[Any], value: str | None) -> None:
        if value and not value.startswith("eval/"):
            raise ValueError(f"'keep_best' must begin with eval/, as in eval/loss, not {value}")
        if value and not (self.eval_every or self.is_asked_for(value)):
            raise ValueError(
                "'keep_best' must have eval_every beside it: how often to measure; or be a score "
                "of train.evaluators, as in eval/judged/greedy"
            )

    @evaluators.validator
    def _have_a_time(self, _: attrs.Attribute[Any], value: tuple[Evaluator, ...]) -> None:
        if value and not self.evaluators_every:
            raise ValueError("'evaluators' must have evaluators_every beside it: how often to ask")

    @evaluators_every.validator
    def _has_something(self, _: attrs.Attribute[Any], value: int | None) -> None:
        if value and not self.evaluators:
            raise ValueError("'evaluators_every' must have evaluators beside it: what to measure")

    @patience.validator
    def _has_a_metric(self, _: attrs.Attribute[Any], value: int | None) -> None:
        if value and not self.keep_best:
            raise ValueError("'patience' must have keep_best beside it: what should get better")

    @max_prompt_length.validator
    def _leaves_room(self, _: attrs.Attribute[Any], value: int | None) -> None:
        if value is not None and value >= self.max_length:
            raise ValueError(f"'max_prompt_length' must be below max_length ({self.max_length})")

    def is_asked_for(self, metric: str) -> bool:
        """Whether a metric is a score of `evaluators`: `eval/EVALUATOR/SCORE`."""
        return any(metric.startswith(f"eval/{label}/") for label, _ in labelled(self.evaluators))
