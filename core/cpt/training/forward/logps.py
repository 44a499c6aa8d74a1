"""The module that is trained: token ids in, log-probabilities of the answers out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cpt.training.data.inputs import ModelInputs
from cpt.training.forward.architecture import backbone_of, fresh_positions, longest_together
from cpt.training.forward.attention.boundaries import boundaries
from cpt.training.forward.attention.packed import PackedSequence, computing
from cpt.training.forward.compact import Compact, compacting
from cpt.training.forward.cpu import keep_freed_memory
from cpt.training.forward.head import token_logps
from cpt.training.forward.probing.probe import find_head, find_layout
from cpt.training.forward.probing.router import experts_per_token
from cpt.training.forward.routing import RouterLogits, Routing, real_tokens


class SequenceLogps(nn.Module):
    """A causal language model as the log-probabilities of answers: wrap this for DDP or FSDP.

    `layout` is how sequences may be arranged for the model. Both it and the head are found by
    trying the model. Whatever PEFT put around the model may stay. On a CPU this process then keeps
    the memory that it frees. Raises `CptError` for a model that cannot be trained.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        if model.device.type == "cpu":
            keep_freed_memory()
        self.model = model
        self._experts_per_token = 0
        self._routed: list[RouterLogits] = []
        self._scales = longest_together(self.causal) is not None
        self._head = find_head(self.causal)
        self.layout = find_layout(self.causal, self)

    @property
    def causal(self) -> Any:
        """The model without what PEFT put around it."""
        peft = hasattr(self.model, "get_base_model")
        return self.model.get_base_model() if peft else self.model

    def record_routing(self) -> None:
        """From now on keep how tokens are routed, where a gradient is wanted: see `routing`.

        Raises `CptError` for a model without a router.
        """
        self._experts_per_token = experts_per_token(self.causal, self._head)

    def routing(self) -> Routing:
        """How the tokens of the last call were routed; frees what was kept for it."""
        # Not an output: what wraps this module expects the log-probabilities alone.
        calls, self._routed = self._routed, []
        return Routing.of(calls, self._experts_per_token)

    def forward(self, inputs: ModelInputs) -> Tensor:
        """log p of every answer token, in fp32, sequence after sequence. Shape (answer tokens,)."""
        self._routed = []
        if inputs.alone:
            return torch.cat([self._call(row, {}) for row in inputs.rows()])
        if not inputs.segments:
            # Padding is on the right, where every model finds a token's position by itself.
            with compacting(Compact.of(inputs)):
                return self._call(inputs, {"attention_mask": inputs.attention_mask})
        packed = PackedSequence.of(inputs.segments, inputs.input_ids.device)
        with computing(packed):
            # A mask of four dimensions is passed on unchanged: none is built, and none is used.
            ignored = torch.empty(1, 1, 1, 1, device=inputs.input_ids.device)
            arguments = {"attention_mask": ignored, "position_ids": inputs.position_ids}
            bounds = boundaries(inputs) if inputs.bounded else {}
            return self._call(inputs, {**arguments, **bounds, "cpt_packed": packed})

    def _call(self, inputs: ModelInputs, kwargs: dict[str, Any]) -> Tensor:
        if self._head is None:
            logits = self._run(self.causal, inputs, kwargs).logits.flatten(0, 1)
            logps: Tensor = logits[inputs.logits_indices].float().log_softmax(1)
            return logps.gather(1, inputs.targets[:, None])[:, 0]
        hidden = self._hidden(inputs, kwargs)[inputs.logits_indices]
        return token_logps(hidden, inputs.targets, self._head)

    def _hidden(self, inputs: ModelInputs, kwargs: dict[str, Any]) -> Tensor:
        """The last hidden states. Shape (batch * seq_len, width)."""
        recording = self._experts_per_token and torch.is_grad_enabled()
        asked = {"output_router_logits": True} if recording else {}
        output = self._run(backbone_of(self.causal), inputs, kwargs | asked)
        if recording:
            self._routed.append(real_tokens(output.router_logits, inputs))
        hidden: Tensor = output.last_hidden_state.flatten(0, 1)
        return hidden

    def _run(self, model: Any, inputs: ModelInputs, kwargs: dict[str, Any]) -> Any:
        if self._scales:
            fresh_positions(self.causal)
        return model(input_ids=inputs.input_ids, use_cache=False, **kwargs)
