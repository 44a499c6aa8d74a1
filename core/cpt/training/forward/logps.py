"""The one thing that is trained: token ids in, log-probabilities of the answers out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cpt.training.data.packing import Micro
from cpt.training.forward.attention import Line
from cpt.training.forward.cpu import keep_freed_memory
from cpt.training.forward.head import token_logps
from cpt.training.forward.probe import find_head, find_layout


class SequenceLogps(nn.Module):
    """A causal language model as the log-probabilities of answers: wrap this for DDP or FSDP.

    `layout` is what `packing.microbatches` needs to know of the model. Both it and the head are
    found by trying the model, so its weights must be there. Whatever PEFT put around the model
    may stay. On a CPU this process keeps the memory that it frees from then on.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        if model.device.type == "cpu":
            keep_freed_memory()
        self.model = model
        self._head = find_head(self._causal)
        self.layout = find_layout(self._causal, self)

    @property
    def _causal(self) -> Any:
        peft = hasattr(self.model, "get_base_model")
        return self.model.get_base_model() if peft else self.model

    def forward(self, micro: Micro) -> Tensor:
        """log p of every answer token, in fp32, row after row. Shape (answer tokens,)."""
        kwargs: dict[str, Any] = {"attention_mask": micro.mask}
        if micro.spans:
            # A mask of four dimensions is handed on as it is: none is built, and none is used.
            ignored = torch.empty(1, 1, 1, 1, device=micro.ids.device)
            line = Line.of(micro.spans, micro.ids.device)
            kwargs = {"attention_mask": ignored, "cpt_line": line}
        kwargs |= {"input_ids": micro.ids, "position_ids": micro.positions, "use_cache": False}
        if self._head is None:
            logits: Tensor = self._causal(**kwargs).logits.flatten(0, 1)[micro.index].float()
            return logits.log_softmax(1).gather(1, micro.targets[:, None])[:, 0]
        hidden = self._causal.base_model(**kwargs).last_hidden_state
        return token_logps(hidden.flatten(0, 1)[micro.index], micro.targets, self._head)
