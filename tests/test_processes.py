"""What several processes agree on, and that number formats are theirs as they are one process's."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from cpt.errors import CptError
from cpt.training.accelerator import _keep_log_probabilities, make_accelerator
from cpt.training.optimizer.adamw import make_optimizer, set_rate
from cpt.training.options import Training
from cpt.training.output.export import _once
from cpt.types import Batch
from cpt_dpo import Dpo

from . import tiny
from .training_process import Trainings

pytestmark = pytest.mark.usefixtures("own_cache")
BF16: dict[str, Any] = {"precision": "bf16", "weights": "bf16"}


@attrs.frozen
class InFp32(Dpo):
    """DPO that wants its log-probabilities in fp32."""

    name = "in_fp32"

    def __call__(self, batch: Batch) -> Tensor:
        assert batch.chosen.policy.dtype == torch.float32
        return super().__call__(batch)


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in tiny.read(run)]


def kept(run: Path) -> set[str]:
    """The names of what the references of a run were computed as."""
    return {path.name for path in (run / "reference").iterdir()}


def test_a_sharded_model_in_bf16_gives_log_probabilities_in_fp32(
    tmp_path: Path, trainings: Trainings
) -> None:
    model = tiny.folder(tmp_path / "base")
    asked: dict[str, Any] = {"pairs": 8, "batch_size": 9, "micro_tokens": 150, "precision": "bf16"}
    asked |= {"loss": f"{__name__}:{InFp32.__name__}"}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    assert trainings(model, tmp_path / "two", processes=2, sharded=True, **asked) == [0, 0]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert two[0] == pytest.approx(math.log(2), abs=1e-6)
    assert two == pytest.approx(one, abs=1e-2)
    assert not kept(tmp_path / "one") & kept(tmp_path / "two")  # they round in other places


def test_what_is_offloaded_trains_as_one_process_does(
    tmp_path: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.folder(tmp_path / "base")
    asked: dict[str, Any] = {"pairs": 8, "batch_size": 9, "micro_tokens": 150}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    assert trainings(model, tmp_path / "two", processes=2, sharded=True, **asked) == [0, 0]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_sharded_adapter_in_bf16_is_trained_behind_its_references(
    tmp_path: Path, trainings: Trainings
) -> None:
    model = tiny.folder(tmp_path / "base", seed=1)  # whose references are in no cache
    asked: dict[str, Any] = {"pairs": 2, "batch_size": 4, "precision": "bf16", "lora_rank": 2}
    run = tmp_path / "run"
    assert trainings(model, run, processes=2, sharded=True, loss="cpt_dpo:Dpo", **asked) == [0, 0]
    assert losses(run)[0] == pytest.approx(math.log(2), abs=1e-6)


def test_two_processes_train_a_reward_model_whose_head_is_no_embedding(
    tmp_path: Path, trainings: Trainings
) -> None:
    model = tiny.folder(tmp_path / "base", tie_word_embeddings=False)
    asked: dict[str, Any] = {"pairs": 2, "batch_size": 4, "loss": "cpt_losses.reward:BradleyTerry"}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    assert trainings(model, tmp_path / "two", processes=2, **asked) == [0, 0]
    assert len(losses(tmp_path / "one")) > 1
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_trained_weights_in_bf16_are_refused_where_fsdp2_would_hold_them_in_fp32() -> None:
    accelerator = make_accelerator(Training(device="cpu"))
    with pytest.raises(CptError, match="FSDP2 holds trained weights in fp32"):
        _keep_log_probabilities(accelerator, Training(**BF16))


def test_others_wait_for_hours_while_one_evaluates_and_gradients_are_there_once() -> None:
    accelerator = make_accelerator(Training(device="cpu"))
    assert accelerator.init_handler.timeout >= timedelta(hours=12)
    assert accelerator.ddp_handler.gradient_as_bucket_view


def test_tied_weights_of_which_deepspeed_gives_copies_are_exported_once() -> None:
    model = tiny.model(tie_word_embeddings=True)
    copies = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert copies.keys() - _once(model, copies).keys() == {"lm_head.weight"}


def test_the_learning_rate_stays_on_the_cpu() -> None:
    pytest.importorskip("torchao")
    made = make_optimizer(nn.Linear(4, 4, dtype=torch.bfloat16), Training(**BF16))
    for group in made.param_groups:
        group["lr"] = torch.empty((), device="meta")  # stands for where accelerate puts it
    set_rate(made, 0.5)
    assert [float(group["lr"]) for group in made.param_groups] == [0.5, 0.5]
