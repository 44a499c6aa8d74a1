"""What the numbers of a run mean, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from cpt.config import AFTER, BEFORE
from cpt.report.formatting import digits, listed, one_of, share, signed, with_interval
from cpt.report.read.curves import TrainingCurves
from cpt.report.read.scores import Agreement, ScoreTable
from cpt.run.results.disagreements import Disagreement, SideEffect
from cpt.run.results.scores import measured
from cpt.types import Score


def about_scores(table: ScoreTable) -> str:
    """How one score changed, and how it compares with the controls."""
    return " ".join(_score_sentences(table))


def _score_sentences(table: ScoreTable) -> Iterator[str]:
    before, after = table.of(BEFORE), table.of(AFTER)
    if before is None or after is None:
        return
    values = [with_interval(result.score, table.decimals) for result in (before, after)]
    yield f"The score was {values[0]} before training and is {values[1]} after."
    if after.change is None:
        yield (
            f"No {one_of(table.unit)} was measured both times, so the change has no interval."
            if after.score.n
            else f"It is of all {table.unit} together, so the change has no interval."
        )
        return
    change = with_interval(after.change, table.decimals, sign=True)
    if _is_clear(after.change):
        word = "rose" if after.change.value > 0 else "fell"
        yield f"On the same {table.unit} it {word}: {change}."
    else:
        yield f"On the same {table.unit} it shows no clear change: {change}."
    yield from _against_controls(table)


def about_missing(table: ScoreTable) -> Iterator[str]:
    """What was not measured, and why; said once of models of which it is the same."""
    models: dict[str, list[str]] = {}
    for result in table.results:
        if result.score.missing:
            models.setdefault(measured(result.score), []).append(result.model)
    yield from (f"{listed(names)}: {said}." for said, names in models.items())


def _is_clear(difference: Score) -> bool:
    """Whether the 95% interval of a difference excludes zero."""
    return difference.low > 0 or difference.high < 0


def _against_controls(table: ScoreTable) -> Iterator[str]:
    higher, lower, unclear = [], [], []
    for result in table.results:
        if result.lead is None:
            continue
        by = f"{result.model} (by {signed(abs(result.lead.value), table.decimals)})"
        if not _is_clear(result.lead):
            unclear.append(result.model)
        elif result.lead.value > 0:
            higher.append(by)
        else:
            lower.append(by)
    groups = {"higher than": higher, "lower than": lower, "not clearly different from": unclear}
    parts = [f"{comparison} {listed(names)}" for comparison, names in groups.items() if names]
    if parts:
        yield f"Compared with the controls it is {'; '.join(parts)}."


def about_agreement(agreement: Agreement) -> Iterator[str]:
    """Whether one measure was pleased while another was not, and what else changed."""
    yield from map(about_disagreement, agreement.disagreements)
    if agreement.disagreements:
        yield (
            "This is what reward hacking looks like: the model learned what pleases one measure, "
            "not what is better. Read samples of both models before trusting either number; "
            "another judge, an earlier checkpoint (--train.keep-best) or pairs of even length help."
        )
    elif agreement.measures > 1:
        yield "No measure of quality rose while an independent one fell."
    yield from map(_side_effect, agreement.side_effects)


def about_disagreement(found: Disagreement) -> str:
    """Which score rose, which fell, and between which models."""
    return (
        f"From {found.start} to {found.end}, {found.up} rose by {_change(found.rise)} while "
        f"{found.down} fell: {_change(found.fall)}."
    )


def _side_effect(found: SideEffect) -> str:
    word = "rose" if found.change.value > 0 else "fell"
    before, after = digits(found.before.value, 3), digits(found.after.value, 3)
    said = f"{found.words[:1].upper()}{found.words[1:]}"
    return f"{said} {word} from {before} to {after}: {_change(found.change)}."


def _change(gap: Score) -> str:
    half = (gap.high - gap.low) / 2
    decimals = min(max(1 - math.floor(math.log10(half)), 0), 6) if half > 0 else 3
    return with_interval(gap, decimals, sign=True)


def about_training(curves: TrainingCurves) -> str:
    """Whether the answers of each side became more or less likely."""
    return " ".join(_training_sentences(curves))


def _training_sentences(curves: TrainingCurves) -> Iterator[str]:
    ratios = {side.name: side.log_ratio for side in curves.sides if side.log_ratio is not None}
    if not all(map(math.isfinite, ratios.values())):
        yield "The log-probabilities are no longer finite numbers: this training diverged."
        return
    if not ratios:
        yield from _without_reference(curves)
        return
    for name, ratio in ratios.items():
        yield f"The log-probability of the {name} answers {_in_words(ratio)}."
    if len(ratios) == 2:
        yield _both_sides(ratios["chosen"], ratios["rejected"])
    yield from _falling(ratios)
    yield from _held_out(curves)
    yield (
        "Log-probabilities are summed over an answer's tokens, compared with the reference model, "
        f"and averaged over {steps(curves.last_steps)}."
    )


def steps(span: tuple[int, int]) -> str:
    """`steps 1 to 10`, or `step 1`."""
    first, last = span
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def _without_reference(curves: TrainingCurves) -> Iterator[str]:
    for side in curves.sides:
        word = "rose" if side.last > side.first else "fell" if side.last < side.first else "stayed"
        yield (
            f"The log-probability of the {side.name} answers {word} from "
            f"{signed(side.first, 2)} nats an answer in {steps(curves.first_steps)} to "
            f"{signed(side.last, 2)} in {steps(curves.last_steps)}."
        )
    if curves.sides:
        yield (
            "This loss has no reference model, so the two numbers are for different pairs, whose "
            "lengths differ, too."
        )


def _in_words(ratio: float) -> str:
    """`rose by 1.20 nats (3.32 times as likely)`."""
    if not ratio:
        return "did not change"
    change = f"{'rose' if ratio > 0 else 'fell'} by {digits(abs(ratio), 3)} nats"
    if abs(ratio) > 20:
        return change
    likely = "as likely" if ratio > 0 else "less likely"
    return f"{change} ({digits(math.exp(abs(ratio)), 3)} times {likely})"


def _falling(ratios: Mapping[str, float]) -> Iterator[str]:
    """What to do if the answers that are preferred were unlearned, too."""
    if ratios.get("chosen", 0.0) < 0:
        yield (
            "If the chosen answers are good ones, they should not become less likely: a loss that "
            "anchors or imitates the chosen side, or a lower learning rate, keeps them."
        )


def _held_out(curves: TrainingCurves) -> Iterator[str]:
    """What pairs say that were not trained on."""
    last, name = curves.last, "rewards/accuracies"
    if f"eval/{name}" in last and name in last:
        yield (
            "The chosen answer has the higher reward in "
            f"{share(last[f'eval/{name}'], 1)} of the held-out pairs, and in "
            f"{share(last[name], 1)} of those trained on."
        )
    losses = [point for point in curves.metrics.get("eval/loss", ()) if math.isfinite(point[1])]
    if len(losses) > 2 and min(losses, key=lambda point: point[1]) not in losses[-2:]:
        step, _ = min(losses, key=lambda point: point[1])
        yield (
            f"The loss on held-out pairs was lowest around step {step:,.0f} and has risen since: "
            "--train.keep-best eval/loss exports the model of such a step."
        )


def _both_sides(chosen: float, rejected: float) -> str:
    if chosen > 0 > rejected:
        return "The two sides moved apart in the direction that the pairs ask for."
    if chosen < 0 and rejected < 0:
        which = "rejected" if rejected < chosen else "chosen"
        return f"Both sides became less likely, the {which} side more so."
    if chosen > 0 and rejected > 0:
        which = "chosen" if chosen > rejected else "rejected"
        return f"Both sides became more likely, the {which} side more so."
    if chosen <= 0 <= rejected and chosen < rejected:
        return "The two sides moved against the direction that the pairs ask for."
    return ""


def last_metrics(curves: TrainingCurves) -> Iterator[tuple[str, str]]:
    """The last line of metrics: names for a reader, and values."""
    last = curves.last
    yield "step", f"{curves.steps:,}"
    for name, label in (("epoch", "epoch"), ("loss", "loss"), ("rewards/margins", "reward margin")):
        if name in last:
            yield label, digits(last[name])
    if "rewards/accuracies" in last:
        yield "accuracy", share(last["rewards/accuracies"], 1)
    for name in curves.extra:
        if name in last:
            yield name, digits(last[name])
    if "tokens_per_second" in last:
        yield "tokens a second", f"{last['tokens_per_second']:,.0f}"
    if "padding" in last:
        yield "padding", share(last["padding"], 1)
