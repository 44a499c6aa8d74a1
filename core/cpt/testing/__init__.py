"""Everything a plugin author needs to test a plugin.

The promises of each role, as tests to inherit:

    class TestMine(LossContract):
        component = MyLoss(beta=0.3)

and fakes of what a run supplies. The fixture `cpt_cli` comes with the package.
"""

import pytest

pytest.register_assert_rewrite("cpt.testing.contracts")

from cpt.testing.contracts import (  # noqa: E402
    ComponentContract,
    EvaluatorContract,
    FilterContract,
    JudgeContract,
    LossContract,
    MonotoneLossContract,
    ObserverContract,
    PairerContract,
    PhasedSchedulerContract,
    ResponderContract,
    SchedulerContract,
)
from cpt.testing.fakes import (  # noqa: E402
    FakeAsk,
    Scripted,
    fake_batch,
    fake_pairs,
    fake_prompts,
    fake_responses,
)

__all__ = [
    "ComponentContract",
    "EvaluatorContract",
    "FakeAsk",
    "FilterContract",
    "JudgeContract",
    "LossContract",
    "MonotoneLossContract",
    "ObserverContract",
    "PairerContract",
    "PhasedSchedulerContract",
    "ResponderContract",
    "SchedulerContract",
    "Scripted",
    "fake_batch",
    "fake_pairs",
    "fake_prompts",
    "fake_responses",
]
