"""What schedulers and losses return is checked: they may be anyone's. Each fault is one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from cpt import Batch, CptError, Loss, Pair, Scheduler
from cpt.cli.printing.output import in_short
from cpt.testing import fake_batch, fake_pairs
from cpt.training.loss import checks
from cpt.training.options import Training
from cpt.training.planning.order import order_of

from . import tiny
from .training_process import Trainings

PAIRS = [*tiny.pairs(9), *tiny.ladder(2)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


def message(function: Callable[[], Any]) -> str:
    """The one line that a call is refused with."""
    with pytest.raises(CptError) as raised:
        function()
    assert "\n" not in raised.value.message
    return raised.value.message


# Schedulers


def scheduler(batches: Any) -> Scheduler:
    @attrs.frozen
    class Given(Scheduler):
        name = "given"

        def batches(self, pairs: Sequence[Pair], size: int, seed: int, epochs: int) -> Any:
            return batches

    return Given()


def ordered(batches: Any, **options: Any) -> list[list[int]]:
    return order_of(fake_pairs(9), scheduler(batches), Training(**{"batch_size": 4} | options), 0)


@pytest.mark.parametrize(
    ("batches", "wanted"),
    [
        (
            None,
            "Scheduler 'given' returned NoneType; `batches` must yield batches of indices into "
            "the pairs.",
        ),
        (
            3,
            "Scheduler 'given' returned int; `batches` must yield batches of indices into "
            "the pairs.",
        ),
        (
            [0, 1, 2],
            "Scheduler 'given' gives 0 as batch 1; a batch is a sequence of indices.",
        ),
        (
            [[0, 1, 2, 3], None],
            "Scheduler 'given' gives None as batch 2; a batch is a sequence of indices.",
        ),
        (
            [[0, 1.5]],
            "Scheduler 'given' gives 1.5 in batch 1; an index into the pairs is a whole number.",
        ),
        (
            [[0, 1.0]],
            "Scheduler 'given' gives 1.0 in batch 1; an index into the pairs is a whole number.",
        ),
        (
            [[True, False]],
            "Scheduler 'given' gives True in batch 1; an index into the pairs is a whole number.",
        ),
        (
            [["0"]],
            "Scheduler 'given' gives '0' in batch 1; an index into the pairs is a whole number.",
        ),
        ([[0, 9]], "Scheduler 'given' asks for pair 9 of 9 in batch 1; the first is 0."),
        ([[-1]], "Scheduler 'given' asks for pair -1 of 9 in batch 1; the first is 0."),
        (
            [[0, 1, 2, 3, 4]],
            "Scheduler 'given' gives 5 pairs in batch 1; train.batch_size is 4, and only the last "
            "batch of an epoch may be smaller.",
        ),
        (
            [[0, 1, 2, 3], []],
            "Scheduler 'given' gives 0 pairs in batch 2; train.batch_size is 4, and only the last "
            "batch of an epoch may be smaller.",
        ),
        (
            [[0, 1], [2, 3, 4, 5]],
            "Scheduler 'given' gives 2 pairs in batch 1 of 2; train.batch_size is 4, and only the "
            "last batch of an epoch may be smaller.",
        ),
        ([], "Scheduler 'given' gives no batch of 9 pairs."),
    ],
)
def test_an_order_that_breaks_its_promise_is_refused(batches: Any, wanted: str) -> None:
    assert message(lambda: ordered(batches)) == wanted


def test_batches_may_be_of_any_kind_that_holds_whole_numbers() -> None:
    made = (np.arange(4), range(4, 8), (8,))
    assert ordered(iter(made)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_the_last_batch_of_each_epoch_may_be_smaller() -> None:
    epoch = [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert ordered([*epoch, *epoch], epochs=2) == [*epoch, *epoch]
    assert "8" not in message(lambda: ordered([*epoch, *epoch, *epoch], epochs=2))


def test_a_scheduler_is_checked_before_a_model_is_loaded(tmp_path: Path, model: Path) -> None:
    wrong = scheduler(None)
    said = message(lambda: tiny.train(tmp_path / "run", model, PAIRS, scheduler=wrong))
    assert said.startswith("Scheduler 'given' returned NoneType")
    assert not (tmp_path / "run" / "order.parquet").exists()


# What a loss needs, and what it may read


def sigmoid_with(**members: Any) -> Loss:
    """The loss `sigmoid` with other members, called `odd`."""
    made: type[Loss] = attrs.frozen(type("Odd", (tiny.Sigmoid,), {"name": "odd", **members}))
    return made()


@pytest.mark.parametrize(
    ("needs", "wanted"),
    [
        (
            frozenset({"rejected", "refrence"}),
            "Loss 'odd': `needs` has the unknown word 'refrence'. Did you mean 'reference'? "
            "There are: rejected, reference, tokens, mismatched, score.",
        ),
        (
            ["rejected"],
            "Loss 'odd': `needs` must be a set of words, as in frozenset({'rejected'}), "
            "got ['rejected']",
        ),
        (
            "rejected",
            "Loss 'odd': `needs` must be a set of words, as in frozenset({'rejected'}), "
            "got 'rejected'",
        ),
    ],
)
def test_a_need_that_is_unknown_trains_nothing(
    tmp_path: Path, model: Path, needs: Any, wanted: str
) -> None:
    odd = sigmoid_with(needs=needs)
    assert message(lambda: tiny.train(tmp_path / "run", model, PAIRS, loss=odd)) == wanted


def test_a_loss_sees_which_pairs_it_is_given(tmp_path: Path, model: Path) -> None:
    given = [
        attrs.evolve(
            pair,
            tier=number % 3,
            margin=float(number),
            prompt=attrs.evolve(pair.prompt, info={"topic": f"t{number}"}),
        )
        for number, pair in enumerate(PAIRS)
    ]
    seen: dict[str, tuple[int, float, Any]] = {}

    def noted(self: Loss, batch: Batch) -> Tensor:
        rows = zip(batch.ids, batch.tier, batch.margin, batch.prompt_infos, strict=True)
        seen.update({id_: (int(tier), float(margin), info) for id_, tier, margin, info in rows})
        return tiny.Sigmoid.__call__(self, batch)  # type: ignore[arg-type]

    tiny.train(tmp_path, model, given, loss=sigmoid_with(__call__=noted), micro_tokens=100)
    assert seen == {pair.id: (pair.tier, pair.margin, pair.prompt.info) for pair in given}


def test_selected_pairs_keep_all_that_is_theirs() -> None:
    batch = fake_batch(5)
    part = batch.select(slice(1, 3))
    assert part.ids == batch.ids[1:3] and part.prompt_infos == batch.prompt_infos[1:3]
    for name in ("tier", "margin", "chosen_score", "rejected_score"):
        assert getattr(part, name).equal(getattr(batch, name)[1:3])
    for side in ("chosen", "rejected"):
        mine, whole = getattr(part, side), getattr(batch, side)
        for name in ("policy", "reference", "length", "ratio", "mean"):
            assert getattr(mine, name).equal(getattr(whole, name)[1:3])
        assert mine.tokens.policy.equal(whole.tokens.policy[1:3])
        assert mine.tokens.reference.equal(whole.tokens.reference[1:3])
        assert mine.tokens.mask.equal(whole.tokens.mask[1:3])
    assert part.mismatched is batch.mismatched and part.progress == batch.progress


# Losses that mix pairs


def centred(self: Any, batch: Batch) -> Tensor:
    ratio = batch.chosen.ratio - batch.rejected.ratio
    return -torch.nn.functional.logsigmoid(ratio - ratio.mean().detach())


def test_a_loss_that_mixes_pairs_is_refused_at_the_first_step(tmp_path: Path, model: Path) -> None:
    mixing = sigmoid_with(__call__=centred)
    assert message(lambda: tiny.train(tmp_path / "run", model, PAIRS, loss=mixing)) == (
        "Loss 'odd' mixes pairs: its value for the same pairs changes with the other pairs in the "
        "batch, so it would depend on how a step is cut. Compute it from each pair alone; "
        "`batch.mismatched` has values of the whole step."
    )
    assert not tiny.read(tmp_path / "run")


def test_a_metric_that_mixes_pairs_is_refused(tmp_path: Path, model: Path) -> None:
    def ranks(self: Any, batch: Batch) -> Mapping[str, Tensor]:
        return {"rank": batch.chosen.policy.argsort().argsort()}

    mixing = sigmoid_with(metrics=ranks)
    said = message(lambda: tiny.train(tmp_path / "run", model, PAIRS, loss=mixing))
    assert said.startswith("Loss 'odd' mixes pairs: its metric 'odd/rank' for the same pairs")


@pytest.mark.parametrize("loss", [tiny.Sigmoid(), tiny.ByToken(), tiny.Anchored()], ids=str)
def test_losses_that_mix_nothing_are_tried_once(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    tried: list[int] = []

    def counting(loss: Loss, batch: Batch) -> None:
        tried.append(len(batch.ids))
        refuse(loss, batch)

    refuse = checks.refuse_mixing
    monkeypatch.setattr(checks, "refuse_mixing", counting)
    # The first micro-batches hold one pair each, and show nothing.
    tiny.train(tmp_path, model, PAIRS, loss=loss, micro_tokens=150, epochs=2)
    assert len(tried) == 1 and tried[0] > 1


# What a loss returns


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (lambda losses: losses.tolist(), "list"),
        (lambda losses: losses[:, None], r"shape \(\d, 1\)"),
        (lambda losses: losses.to(torch.complex64), r"complex numbers of shape \(\d,\)"),
    ],
)
def test_a_wrong_value_of_a_loss_is_one_line(
    tmp_path: Path, model: Path, returned: Callable[[Tensor], Any], what: str
) -> None:
    def call(self: Any, batch: Batch) -> Any:
        return returned(tiny.Sigmoid.__call__(self, batch))

    with pytest.raises(CptError, match=rf"Loss 'odd' returned {what} for \d pairs; it must return"):
        tiny.train(tmp_path, model, PAIRS, loss=sigmoid_with(__call__=call))


def test_a_loss_that_computes_gradients_itself_is_refused(tmp_path: Path, model: Path) -> None:
    def call(self: Any, batch: Batch) -> Tensor:
        losses = tiny.Sigmoid.__call__(self, batch)
        losses.sum().backward(retain_graph=True)
        return losses

    with pytest.raises(CptError, match="'odd' computes gradients itself; it must only return"):
        tiny.train(tmp_path, model, PAIRS, loss=sigmoid_with(__call__=call))


def test_a_loss_that_turns_gradients_off_turns_off_none_but_its_own(
    tmp_path: Path, model: Path
) -> None:
    def call(self: Any, batch: Batch) -> Tensor:
        losses = tiny.Sigmoid.__call__(self, batch)
        torch.set_grad_enabled(False)
        return losses

    tiny.train(tmp_path / "odd", model, PAIRS, loss=sigmoid_with(__call__=call))
    tiny.train(tmp_path / "plain", model, PAIRS)
    odd, plain = (tiny.read(tmp_path / name)[-1]["loss"] for name in ("odd", "plain"))
    assert odd == plain


# Metrics of a loss


@attrs.frozen
class Measured(tiny.Sigmoid):
    """As `sigmoid`, with metrics of its own."""

    name = "measured"

    def metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        assert not torch.is_grad_enabled()
        return {
            "margin": batch.margin,
            "odd": batch.margin % 2 == 1,
            "gap": batch.chosen.ratio - batch.rejected.ratio,
        }


WITH_MARGINS = [attrs.evolve(pair, margin=float(at)) for at, pair in enumerate(PAIRS)]


@pytest.mark.parametrize("tokens", [10_000, 150, 60])
def test_metrics_of_a_loss_are_exact_means_however_a_step_is_cut(
    tmp_path: Path, model: Path, tokens: int
) -> None:
    lines = tiny.train(
        tmp_path, model, WITH_MARGINS, loss=Measured(), micro_tokens=tokens, log_every=2
    )
    margins = [pair.margin for pair in WITH_MARGINS if pair.margin is not None]
    assert lines[0]["measured/margin"] == np.mean(margins)  # 2 steps: all 15 pairs
    for line in lines:
        assert line["measured/gap"] == pytest.approx(
            line["logratios/chosen"] - line["logratios/rejected"], rel=1e-4, abs=1e-6
        )
    assert lines[0]["measured/odd"] == 7 / 15  # a share, as an accuracy is


def test_metrics_of_a_loss_change_nothing_else(tmp_path: Path, model: Path) -> None:
    with_, without = (
        tiny.train(tmp_path / loss.name, model, WITH_MARGINS, loss=loss)
        for loss in (Measured(), tiny.Sigmoid())
    )
    for line, other in zip(with_, without, strict=True):
        assert {name for name in line if name not in other} == {
            "measured/margin",
            "measured/odd",
            "measured/gap",
        }
        assert line["loss"] == other["loss"] and line["grad_norm"] == other["grad_norm"]


def test_metrics_of_a_loss_are_the_means_over_all_processes(
    tmp_path: Path, model: Path, trainings: Trainings
) -> None:
    asked = {"loss": "Measured", "pairs": 5, "batch_size": 7, "checkpoint_every": 1}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    assert trainings(model, tmp_path / "two", processes=2, **asked) == [0, 0]
    one, two = (tiny.read(tmp_path / run) for run in ("one", "two"))
    assert len(one) == len(two) == 2
    for line, other in zip(one, two, strict=True):
        assert line["measured/length"] == other["measured/length"] > 1


def test_the_terminal_line_has_the_metrics_of_the_loss() -> None:
    line = {"loss": 0.5, "logps/chosen": -3.0, "logratios/chosen": 1.0, "mine/kl": 0.25}
    assert in_short(line) == "loss 0.5  mine/kl 0.25"


@pytest.mark.parametrize(
    ("returned", "wanted"),
    [
        (
            lambda batch: None,
            r"Loss 'odd' returned NoneType as its metrics; `metrics` must return a dict of tensors "
            r"by name\.",
        ),
        (
            lambda batch: {"kl": 0.5},
            r"Metric 'kl' of loss 'odd' is float for \d pairs; it must be one number for each: a "
            r"tensor of shape \(\d,\)\.",
        ),
        (
            lambda batch: {"kl": batch.chosen.ratio.mean()},
            r"Metric 'kl' of loss 'odd' is shape \(\) for \d pairs; it must be one number for "
            r"each: a tensor of shape \(\d,\)\.",
        ),
        (
            lambda batch: {"mean kl": batch.chosen.ratio},
            r"Loss 'odd' has a metric called 'mean kl': a name is a text without blanks\.",
        ),
        (
            lambda batch: {"": batch.chosen.ratio},
            r"Loss 'odd' has a metric called '': a name is a text without blanks\.",
        ),
        (
            lambda batch: {1: batch.chosen.ratio},
            r"Loss 'odd' has a metric called 1: a name is a text without blanks\.",
        ),
    ],
)
def test_a_wrong_metric_is_one_line(
    tmp_path: Path, model: Path, returned: Callable[[Batch], Any], wanted: str
) -> None:
    def metrics(self: Any, batch: Batch) -> Any:
        return returned(batch)

    odd = sigmoid_with(metrics=metrics)
    with pytest.raises(CptError, match=f"^{wanted}$"):
        tiny.train(tmp_path, model, PAIRS, loss=odd)


def test_the_names_of_metrics_must_not_change(tmp_path: Path, model: Path) -> None:
    def metrics(self: Any, batch: Batch) -> Mapping[str, Tensor]:
        return {"early" if batch.progress == 0 else "late": batch.chosen.ratio}

    odd = sigmoid_with(metrics=metrics)
    said = message(lambda: tiny.train(tmp_path, model, PAIRS, loss=odd))
    assert said == (
        "Loss 'odd' returned the metrics odd/late after odd/early; the names must not change."
    )


def test_a_metric_is_taken_up_from_a_checkpoint(tmp_path: Path, model: Path) -> None:
    def stop(event: str, **facts: Any) -> None:
        if event == "cpt_checkpoint_saved":
            raise InterruptedError

    asked: dict[str, Any] = {"loss": Measured(), "batch_size": 4, "log_every": 2}
    whole = tiny.train(tmp_path / "whole", model, WITH_MARGINS, **asked)
    asked["checkpoint_every"] = 3
    with pytest.raises(InterruptedError):
        tiny.train(tmp_path / "run", model, WITH_MARGINS, notify=stop, **asked)
    state = json.loads((tmp_path / "run/checkpoints/step-00000003/state.json").read_text())
    assert state["sums"]["measured/margin"] == 8 + 9 + 10 + 11
    resumed = tiny.train(tmp_path / "run", model, WITH_MARGINS, **asked)
    margins = [[line["measured/margin"] for line in lines] for lines in (whole, resumed)]
    assert margins[0] == margins[1] == [3.5, 11.0]
