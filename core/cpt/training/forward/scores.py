"""The module that a reward model is trained as: token ids in, the score of each answer out."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cpt.errors import CptError
from cpt.training.data.inputs import ModelInputs, copied
from cpt.training.forward.architecture import backbone_of
from cpt.training.forward.logps import SequenceLogps


class SequenceScores(SequenceLogps):
    """A language model whose head is one number: the score of an answer at its last token.

    The head begins at zero, so that all answers are equally good before the first step. Raises
    `CptError` for a model that transformers has no sequence classifier for.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)  # how sequences can be arranged is tried with the model's own head
        classifier = empty_classifier(self.causal)
        (_, weight) = head_of(classifier, self.causal)
        self.score = nn.Linear(weight.shape[1], 1, bias=False, device=self.causal.device)
        nn.init.zeros_(self.score.weight)
        _freeze_head(self.causal)

    def _call(self, inputs: ModelInputs, kwargs: dict[str, Any]) -> Tensor:
        """The score at the last token of each answer, 0 at the others. Shape (answer tokens,)."""
        if "score" not in self._modules:
            return super()._call(inputs, kwargs)
        ends = copied(inputs.lengths, inputs.targets.device).cumsum(0) - 1
        hidden = self._hidden(inputs, kwargs)[inputs.logits_indices[ends]]
        zeros = torch.zeros(len(inputs.targets), device=hidden.device)
        return zeros.index_put((ends,), self.score(hidden)[:, 0].float())


def _freeze_head(causal: Any) -> None:
    """Leave out the model's own head, which nothing is computed with, unless it is the embeddings.

    DDP would wait for its gradient.
    """
    embedded = {id(weight) for weight in causal.get_input_embeddings().parameters()}
    head = causal.get_output_embeddings()
    for weight in () if head is None else head.parameters():
        weight.requires_grad_(weight.requires_grad and id(weight) in embedded)


def empty_classifier(causal: Any) -> Any:
    """The sequence classifier of a language model's type, without weights. Raises `CptError`."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(causal.config)
    config.num_labels = 1
    try:
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise CptError(
            f"{type(causal).__name__}: transformers has no sequence classifier for models of type "
            f"{config.model_type!r}, which a reward model is; train another model."
        ) from error


def head_of(classifier: Any, causal: Any) -> tuple[str, Tensor]:
    """The name and the weight of a classifier's head. Raises `CptError` if it is not one matrix."""
    known = _backbone_weights(causal)
    own = {name: weight for name, weight in classifier.state_dict().items() if name not in known}
    backbone = backbone_of(causal)
    if backbone is None or len(own) != 1 or known.keys() - classifier.state_dict().keys():
        raise CptError(
            f"{type(causal).__name__}: its sequence classifier is not the same model with one "
            "matrix as its head, so it cannot become a reward model here; train another model."
        )
    return next(iter(own.items()))


def classifier_of(causal: Any, score: nn.Linear) -> Any:
    """The trained reward model as transformers knows it."""
    classifier = empty_classifier(causal)
    name, _ = head_of(classifier, causal)
    weights = _backbone_weights(causal) | {name: score.weight.detach()}
    classifier.load_state_dict(weights, assign=True)
    return classifier.eval()


def _backbone_weights(causal: Any) -> dict[str, Tensor]:
    """All weights but the head's and those of adapters, named as without adapters."""
    prefix = f"{causal.base_model_prefix}."
    return {
        name.replace(".base_layer", ""): weight
        for name, weight in causal.state_dict().items()
        if name.startswith(prefix) and "lora_" not in name
    }
