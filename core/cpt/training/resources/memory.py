"""The memory of a training by part, from a model's configuration alone: no weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cpt.training.data.packing import Layout
from cpt.training.forward.architecture import backbone_of, costs_of, why_not_packed
from cpt.training.forward.flops import Work
from cpt.training.forward.head import CHUNK, KEEP, at_most
from cpt.training.forward.loading.model import config_of, lora_targets
from cpt.training.optimizer.adamw import AT_ONCE, needs_torchao
from cpt.training.options import Training

STATE = {"adamw": 8.0, "adamw_8bit": 2.03, "adamw_4bit": 1.06, "adamw_fp8": 2.03}
"""Bytes of optimizer for each number that is trained."""
STEP = {"adamw": 52.0, "adamw_8bit": 83.0, "adamw_4bit": 66.0, "adamw_fp8": 52.0}
"""Bytes for each number that torchao's step changes at once on a CPU, measured.

Its kernels run there one operation after the other, each with a result in fp32 or wider.
"""
GAPS = {"fp32": 0.1, "bf16": 0.6}
"""Bytes that lie free between tensors, for each byte of activations and head, by precision.

Measured on a CPU, where what is freed is kept (`cpt.training.forward.cpu`): in bf16 copies of all
weights come and go between what stays.
"""
NF4 = 4.127 / 8
"""Bytes of a number in NF4 with doubly quantized scales (arXiv 2305.14314, section 3)."""
RUNTIME = {"cpu": 0.7e9, "cuda": 1.0e9}
"""Bytes that libraries take: on a CPU measured, on CUDA of its context and workspaces."""
COUNTED = "cpt_counted"
"""The name of an attention in transformers that only shows what would be kept."""
TRIED = (64, 192)
"""Lengths at which activations are counted."""


@attrs.frozen(kw_only=True)
class Footprint:
    """Bytes on the device where a step needs most."""

    weights: float
    gradients: float
    optimizer: float
    casts: float
    """Copies of the weights in the format that matrices are multiplied in."""
    activations: float
    step: float
    """What the optimizer's step takes beyond activations and head, which are gone by then."""
    head: float
    """Logits, what is kept of them, and the head's gradient while it is made."""
    gaps: float
    """What the C library keeps free between tensors, on a CPU."""
    reference: float
    """Nothing: its log-probabilities are computed before, and kept on the disk."""
    runtime: float

    @property
    def total(self) -> float:
        return float(sum(attrs.astuple(self)))


@attrs.frozen(kw_only=True)
class Sketch:
    """A model without numbers in it: what decides the memory and the work of training it."""

    parameters: int
    trained: int
    weights: float
    """Bytes of the weights."""
    trained_bytes: float
    largest: int
    """Numbers in the largest matrix that is trained."""
    casts: float
    """Bytes of weights that autocast copies."""
    per_token: float
    """Bytes of activations that are kept for each token."""
    layers: int
    width: int
    vocabulary: int
    head_trained: bool
    work: Work
    layout: Layout
    """The best that may come out when the model itself is tried."""
    options: Training

    def footprint(self, tokens: int, answers: int, device: str) -> Footprint:
        """For micro-batches of at most so many tokens, and of these answer tokens."""
        state = STATE[self.options.optimizer]
        activations, head = tokens * self._kept_per_token, self._head(answers, device)
        return Footprint(
            weights=self.weights,
            gradients=self.trained_bytes,
            optimizer=state * self.trained,
            casts=self.casts,
            activations=activations,
            step=max(0.0, self._step(device) - activations - head),
            head=head,
            gaps=self._gaps(device) * (activations + head),
            reference=0.0,
            runtime=RUNTIME.get(device, RUNTIME["cuda"]),
        )

    @property
    def _kept_per_token(self) -> float:
        """Activations, and the gradients of one layer's while it goes backward."""
        layer = self.per_token / self.layers
        if not self.options.gradient_checkpointing:
            return self.per_token + layer
        stream = 4 if self.options.weights == "fp32" else 2
        return self.layers * self.width * stream + 2 * layer

    def _gaps(self, device: str) -> float:
        return GAPS.get(self.options.precision, GAPS["bf16"]) if device == "cpu" else 0.0

    def _step(self, device: str) -> float:
        if device != "cpu" or not needs_torchao(self.options):
            return 0.0
        return STEP[self.options.optimizer] * min(self.largest, AT_ONCE)

    def _head(self, answers: int, device: str) -> float:
        item = 4 if self.options.precision == "fp32" else 2
        logits = 4 * answers * self.vocabulary
        chunk = min(logits, at_most(CHUNK, device))
        cast = chunk * item / 4 if item < 4 else 0
        if not self.head_trained:
            return chunk + cast
        kept = min(at_most(KEEP, device), answers * self.vocabulary * item)
        return max(chunk + cast + kept, kept + 2 * 4 * self.vocabulary * self.width)


def sketch(folder: Path, options: Training) -> Sketch:
    """The sketch of a model's folder, of which only the configuration is read.

    Raises `CptError` for a model that is none or cannot be trained so.
    """
    with _without_numbers():
        model = _empty(folder, options)
        work = Work.of(model, frozen=bool(options.lora_rank))
        layout = costs_of(model) if why_not_packed(model) is None else Layout(compact=True)
        if options.lora_rank:
            add_adapters(model, options)
        weights = list(model.parameters())
        trained = [weight for weight in weights if weight.requires_grad]
        fixed, slope = _activations(model, options)
        head = model.get_output_embeddings()
        config = model.config.get_text_config()
        return Sketch(
            parameters=sum(weight.numel() for weight in weights),
            trained=sum(weight.numel() for weight in trained),
            weights=_weight_bytes(model, weights, options),
            trained_bytes=float(sum(weight.nbytes for weight in trained)),
            largest=max((weight.numel() for weight in trained), default=0),
            casts=fixed,
            per_token=slope,
            layers=int(config.num_hidden_layers),
            width=int(config.hidden_size),
            vocabulary=int(config.vocab_size),
            head_trained=head is not None and any(own.requires_grad for own in head.parameters()),
            work=work,
            layout=layout,
            options=options,
        )


def _empty(folder: Path, options: Training) -> Any:
    from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
    from transformers.masking_utils import sdpa_mask

    dtype = torch.float32 if options.weights == "fp32" else torch.bfloat16
    trust = options.trust_remote_code
    config = config_of(folder, trust)
    made: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trust)
    if made._supports_attention_backend:
        AttentionInterface.register(COUNTED, _attention)
        AttentionMaskInterface.register(COUNTED, sdpa_mask)
        made.set_attn_implementation(COUNTED)
    return made.eval()


def _same(tensor: Tensor) -> Tensor:
    return tensor


class _Attention(torch.autograd.Function):
    """What fused attention keeps for its gradient, without computing anything."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:3], value.shape[-1])
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:3]))
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise NotImplementedError


def _attention(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **more: Any
) -> Any:
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (tensor.to(torch.bfloat16) for tensor in (query, key, value))
    out: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2).contiguous(), None


class _Adapted(nn.Module):
    """A linear layer with an adapter: PEFT's own cannot be made of numbers that are not there."""

    def __init__(self, linear: nn.Linear, options: Training) -> None:
        super().__init__()
        rank = options.lora_rank
        self.linear = linear
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)
        if options.dora:
            self.length = nn.Parameter(torch.ones(linear.out_features))

    def forward(self, hidden: Tensor) -> Tensor:
        added = self.up(self.down(hidden.to(self.down.weight.dtype)))
        result: Tensor = self.linear(hidden) + added.to(hidden.dtype)
        return result


def add_adapters(model: Any, options: Training) -> None:
    """Freeze a model, and put adapters where PEFT would."""
    model.requires_grad_(False)
    targets = list(options.lora_targets) or lora_targets(model)
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        known = name in targets or name.rpartition(".")[2] in targets or targets == "all-linear"
        if known and isinstance(module, nn.Linear) and module is not head:
            above, _, own = name.rpartition(".")
            setattr(model.get_submodule(above), own, _Adapted(module, options))
    # PEFT lets embeddings be differentiated where activations are computed twice.
    model.get_input_embeddings().register_forward_hook(lambda *call: call[-1].requires_grad_())


@contextmanager
def _without_numbers() -> Iterator[None]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def _weight_bytes(model: Any, parameters: list[Tensor], options: Training) -> float:
    whole = float(sum(weight.nbytes for weight in parameters))
    if options.weights != "nf4":
        return whole
    head = model.get_output_embeddings()
    quantized = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear) and module is not head and not module.weight.requires_grad
    ]
    return whole - sum(weight.nbytes - NF4 * weight.numel() for weight in quantized)


def _activations(model: Any, options: Training) -> tuple[float, float]:
    """Bytes that a forward pass of the body keeps: whatever its length, and for each token."""
    short, long = (_kept(model, length, options) for length in TRIED)
    slope = (long - short) / (TRIED[1] - TRIED[0])
    return max(0.0, short - TRIED[0] * slope), slope


def _kept(model: Any, length: int, options: Training) -> float:
    """Bytes of all tensors that a backward pass would need, weights left out."""
    found: dict[int, Tensor] = {}
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            found[storage] = tensor
        return tensor

    ids = torch.zeros(1, length, dtype=torch.long)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=options.precision != "fp32")
    with torch.autograd.graph.saved_tensors_hooks(keep, _same), autocast:
        body: Any = backbone_of(model) or model
        body(input_ids=ids, use_cache=False)
    return float(sum(tensor.untyped_storage().nbytes() for tensor in found.values()))
