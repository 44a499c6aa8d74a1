"""Pairs as token ids of the model in a folder: by its tokenizer, within its positions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import attrs

from cpt.models import load_tokenizer
from cpt.roles import Loss
from cpt.training.data.checks.checkup import Checkup
from cpt.training.data.corpus import Corpus
from cpt.training.data.findings import Diagnosis
from cpt.training.data.prepare import Examination, prepare
from cpt.training.forward.loading.model import vocabulary, within_positions
from cpt.training.options import Training
from cpt.types import Pair


@attrs.frozen(eq=False, kw_only=True)
class PairEncoder:
    """What makes token ids of pairs for one model."""

    folder: Path
    """Of the model."""
    options: Training
    """Those of a training, with no `max_length` beyond what the model has positions for."""
    tokenizer: Any
    vocabulary: int
    """Number of token ids that the model knows."""

    @classmethod
    def of(cls, folder: Path, options: Training) -> PairEncoder:
        """The one for the model in a folder. Raises `CptError`."""
        trust = options.trust_remote_code
        return cls(
            folder=folder,
            options=within_positions(options, folder),
            tokenizer=load_tokenizer(folder, trust_remote_code=trust),
            vocabulary=vocabulary(folder, trust_remote_code=trust),
        )

    def prepare(
        self,
        pairs: Sequence[Pair],
        *,
        loss: Loss | None = None,
        day: date | None = None,
        checkup: Checkup | None = None,
    ) -> tuple[Corpus, Diagnosis]:
        """The pairs that can be trained on, and what is wrong with the others: see `prepare`."""
        return prepare(
            pairs,
            self.tokenizer,
            self.options,
            self.vocabulary,
            loss=loss,
            day=day,
            checkup=checkup,
            model=self.folder,
        )

    def examination(self, day: date) -> Examination:
        """What looks at pairs one by one, and keeps none."""
        return Examination.of(self.tokenizer, self.options, self.vocabulary, day=day)
