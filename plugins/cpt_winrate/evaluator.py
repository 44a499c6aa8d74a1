"""Win rates of a model under evaluation against an opponent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

import cpt

if TYPE_CHECKING:
    from cpt.data import Annotation, Difficulties
    from cpt.statistics import Regularizer

Found = dict[str, "Annotation | cpt.Missing"]
"""The judged comparison of each prompt, or why there is none."""


@attrs.frozen
class WinRate(cpt.RunEvaluator):
    """How often a judge prefers the model's answers to an opponent's, judged in both orders.

    All scores are in percent. `raw` is the mean win over both orders, `discrete` counts a prompt
    whole, `lc` is the rate at equal length (Dubois et al., arXiv 2404.04475). `length_only` is the
    rate if always the longer answer won, `longer_preferred` how often it did where there was a
    winner. `position_bias` is the rate of the answer shown first minus that of the second, and
    `ties` the share of draws. From a judge that gives grades, `weighted` counts strong verdicts
    three times (Arena-Hard, arXiv 2406.11939). A prompt counts if both answered and both orders
    could be read.
    """

    name = "win_rate"
    quality = ("raw",)
    judge: cpt.Judge
    """Who compares the answers."""
    opponent: cpt.Responder | None = None
    """Whose answers the model's are compared with; without one, the model before training."""
    temperature: float | None = None
    """At which the model answers (and the model before training); without it, at its own."""
    difficulty: str | None = attrs.field(default=None, metadata=cpt.PATH)
    """AlpacaEval's difficulty of each prompt, for its own `lc`; it needs the regularizer, too."""
    regularizer: str | None = attrs.field(default=None, metadata=cpt.PATH)
    """AlpacaEval's rows of gamed models; without both files, `lc` is from these answers alone."""
    save: str | None = attrs.field(default=None, metadata=cpt.NOT_IDENTITY)
    """A folder for annotations.json and model_outputs.json of every model that is measured."""

    def check(self) -> None:
        self.judge.check()
        if self.opponent is not None:
            self.opponent.check()
        if (self.difficulty is None) != (self.regularizer is None):
            raise cpt.CptError(
                f"{self.name}: difficulty and regularizer are given together; leave one out."
            )
        self._controls()

    def for_dry_run(self) -> cpt.Evaluator:
        return attrs.evolve(self, save=None)

    async def measure(self, evaluation: cpt.Evaluation, ask: cpt.Ask) -> Mapping[str, cpt.Score]:
        from asyncio import gather

        from cpt_winrate.scores import scores_of

        prompts = evaluation.prompts
        model = self._at_temperature(evaluation.model)
        opponent = self.opponent or self._at_temperature(evaluation.base)
        judged = await gather(*(self._judged(model, opponent, one, ask) for one in prompts))
        found = dict(zip((prompt.id for prompt in prompts), judged, strict=True))
        self._refuse_nothing(found, model)
        self._write(found, prompts, model)
        return scores_of(found, *self._controls())

    def _at_temperature(self, model: cpt.Responder) -> cpt.Responder:
        if self.temperature is None:
            return model
        return model.with_options(temperature=self.temperature)

    async def _judged(
        self, model: cpt.Responder, opponent: cpt.Responder, prompt: cpt.Prompt, ask: cpt.Ask
    ) -> Annotation | cpt.Missing:
        from asyncio import gather

        from cpt.matches import compared

        answers = await gather(ask(model, prompt), ask(opponent, prompt))
        try:
            ours, theirs = (answer.expect("cut_off", "empty") for answer in answers)
            return await compared(self.judge, prompt, theirs, ours, ask)
        except cpt.NoPair as none:
            return cpt.Missing(none.reason, none.detail, none.raw)

    def _refuse_nothing(self, found: Found, model: cpt.Responder) -> None:
        missing = [one for one in found.values() if isinstance(one, cpt.Missing)]
        if len(missing) < len(found):
            return
        counts = Counter(one.reason for one in missing)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        example = next((f"; for example: {one.detail}" for one in missing if one.detail), "")
        raise cpt.CptError(
            f"the evaluator {self.name!r}: the judge {self.judge.name!r} compared none of the "
            f"{len(found)} answers of {model.author} ({reasons}{example})."
        )

    def _write(self, found: Found, prompts: Sequence[cpt.Prompt], model: cpt.Responder) -> None:
        """The annotations and answers of one model, in a folder of its name."""
        if self.save is None:
            return
        from cpt.data import write_annotations, write_outputs

        folder = Path(self.save, "-".join(Path(model.author).parts[-2:]).strip("/"))
        folder.mkdir(parents=True, exist_ok=True)
        judged = {name: one for name, one in found.items() if not isinstance(one, cpt.Missing)}
        write_annotations(folder / "annotations.json", judged.values())
        answers = [
            (prompt, cpt.Response(prompt_id=prompt.id, text=text[1], author=model.author))
            for prompt in prompts
            if prompt.id in judged and (text := judged[prompt.id].outputs)
        ]
        write_outputs(folder / "model_outputs.json", answers)

    def _controls(self) -> tuple[Difficulties | None, Regularizer | None]:
        """AlpacaEval's difficulties and regularizer, None where they are not given."""
        from cpt import paths
        from cpt.data import read_difficulties, read_regularizer

        if self.difficulty is None or self.regularizer is None:
            return None, None
        return (
            read_difficulties(paths.resolve(self.difficulty)),
            read_regularizer(paths.resolve(self.regularizer)),
        )
