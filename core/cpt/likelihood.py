"""How likely a model finds the two answers of a pair: what an implicit reward is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from cpt.models import folder_of, suited_threads
from cpt.types import Missing, Pair, PairLogps

if TYPE_CHECKING:
    from cpt.training.data.corpus import Corpus
    from cpt.training.reference.store import AnswerLogps


@attrs.frozen(kw_only=True)
class Reading:
    """How pairs become token ids, and what computes their log-probabilities."""

    max_length: int = 2048
    """Most tokens in a prompt and one answer together, at most the model's own limit."""
    truncate: bool = False
    """Cut both answers of a pair that are both too long instead of leaving the pair out."""
    chat_template_kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    """What the chat template is given beside the messages."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What matrices are multiplied in."""
    device: Literal["auto", "cpu"] = "auto"
    """An accelerator if there is one, or the CPU in any case."""
    max_tokens: int | None = None
    """Tokens in one call of the model (default 8192; 2048 on a CPU)."""
    trust_remote_code: bool = False
    """Run the Python code in the model's folder."""


def log_probabilities(
    pairs: Sequence[Pair], model: str | Path, reading: Reading | None = None
) -> dict[str, PairLogps | Missing]:
    """The log-probabilities of each pair's answers under a model, by the pair's id.

    They are computed as training computes them, so the difference of two models is the log-ratio
    that a loss sees; values of the same weights are kept in the cache of this machine, and two
    folders with the same weights give equal values to the last bit. A pair that training would
    drop has the reason instead. All pairs and their values are in memory: for more than fit, call
    it with some thousands at a time, as filters do. `model` is a folder, a path scheme or a hub id.
    Raises `CptError` if there is no such model.
    """
    from cpt.training.data.checks.checkup import Checkup
    from cpt.training.forward.cpu import count_parameters
    from cpt.training.planning.encoder import PairEncoder

    reading, folder = reading or Reading(), folder_of(model)
    checkup = Checkup(left_out=[])
    corpus, _ = PairEncoder.of(folder, _training(reading)).prepare(pairs, checkup=checkup)
    with suited_threads(count_parameters(folder)):
        values = _computed(corpus, folder, reading)
    dropped = {
        finding.pair: Missing(finding.problem, finding.detail) for finding in checkup.left_out or ()
    }
    return dropped | _by_pair(corpus, values)


def _by_pair(corpus: Corpus, values: Sequence[AnswerLogps]) -> dict[str, PairLogps | Missing]:
    def of(pair: int) -> PairLogps | Missing:
        if corpus.pairs[pair].label is not None:
            return Missing("one_answer", "there is no other answer to compare it with")
        chosen, rejected = values[corpus.chosen[pair]], values[corpus.rejected[pair]]
        return PairLogps(
            chosen=float(chosen.sum(dtype=float)),
            rejected=float(rejected.sum(dtype=float)),
            chosen_tokens=len(chosen),
            rejected_tokens=len(rejected),
        )

    return {pair.id: of(number) for number, pair in enumerate(corpus.pairs)}


def _computed(corpus: Corpus, folder: Path, reading: Reading) -> Sequence[AnswerLogps]:
    """Those of every sequence, from the cache where it has them."""
    from cpt.training.reference.store import open_cache, store_digest

    trust, device = reading.trust_remote_code, _device(reading)
    digest = store_digest(folder, reading.precision, device, trust_remote_code=trust)
    store = open_cache(digest)
    names = [sequence.digest for sequence in corpus.sequences]
    wanted = dict(zip(names, corpus.sequences, strict=True))
    found = store.read(wanted) if store else {}
    missing = {name: sequence for name, sequence in wanted.items() if name not in found}
    if missing:
        scored = _score(list(missing.values()), folder, reading)
        new = dict(zip(missing, scored, strict=True))
        found |= new
        with suppress(OSError):  # without a cache they are computed again
            if store:
                store.add(new)
    return [found[name] for name in names]


def _score(sequences: Sequence[Any], folder: Path, reading: Reading) -> list[AnswerLogps]:
    from cpt.training.accelerator import make_accelerator, micro_tokens_of
    from cpt.training.forward.loading.model import load_model
    from cpt.training.forward.logps import SequenceLogps
    from cpt.training.reference.scoring import Scorer

    options = _training(reading)
    accelerator = make_accelerator(options)
    model = load_model(folder, trust_remote_code=reading.trust_remote_code)
    module = SequenceLogps(model.to(accelerator.device))
    max_tokens = micro_tokens_of(options, accelerator.device.type)
    scorer = Scorer(accelerator=accelerator, module=module, max_tokens=max_tokens)
    return scorer.score(sequences, sequences[0])


def _device(reading: Reading) -> str:
    from cpt.models import device_of

    return device_of(reading.device).partition(":")[0]


def _training(reading: Reading) -> Any:
    from cpt.training.options import Training

    names = ("max_length", "truncate", "chat_template_kwargs", "precision", "device")
    same = {name: getattr(reading, name) for name in names}
    return Training(
        **same, micro_tokens=reading.max_tokens, trust_remote_code=reading.trust_remote_code
    )
