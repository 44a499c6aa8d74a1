"""The parts that a run is made of. Subclass one, give it a name, hand it to a hook."""

from cpt.roles.component import NOT_IDENTITY, PATH, Component
from cpt.roles.evaluator import Evaluation, Evaluator, RunEvaluator
from cpt.roles.filter import Filter
from cpt.roles.judge import Judge
from cpt.roles.loss import Choice, Loss, LossChoice, Need
from cpt.roles.observer import Observer
from cpt.roles.pairer import Pairer
from cpt.roles.responder import Ask, Local, Responder, Service
from cpt.roles.scheduler import Phase, PhasedScheduler, Scheduler

__all__ = [
    "NOT_IDENTITY",
    "PATH",
    "ROLES",
    "Ask",
    "Choice",
    "Component",
    "Evaluation",
    "Evaluator",
    "Filter",
    "Judge",
    "Local",
    "Loss",
    "LossChoice",
    "Need",
    "Observer",
    "Pairer",
    "Phase",
    "PhasedScheduler",
    "Responder",
    "RunEvaluator",
    "Scheduler",
    "Service",
]

ROLES: dict[str, type[Component]] = {
    cls.role: cls
    for cls in (Responder, Judge, Pairer, Filter, Scheduler, Loss, Evaluator, Observer)
}
