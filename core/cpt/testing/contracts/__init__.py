"""The promises of each role, one module each."""

from cpt.testing.contracts.component import ComponentContract
from cpt.testing.contracts.evaluator import EvaluatorContract
from cpt.testing.contracts.filter import FilterContract
from cpt.testing.contracts.judge import JudgeContract
from cpt.testing.contracts.loss import LossContract, MonotoneLossContract
from cpt.testing.contracts.observer import ObserverContract
from cpt.testing.contracts.pairer import PairerContract
from cpt.testing.contracts.responder import ResponderContract
from cpt.testing.contracts.scheduler import PhasedSchedulerContract, SchedulerContract

__all__ = [
    "ComponentContract",
    "EvaluatorContract",
    "FilterContract",
    "JudgeContract",
    "LossContract",
    "MonotoneLossContract",
    "ObserverContract",
    "PairerContract",
    "PhasedSchedulerContract",
    "ResponderContract",
    "SchedulerContract",
]
