import asyncio

import attrs
import pytest
from cpt_local_program.domains import Domains
from cpt_local_program.program import Program
from cpt_local_program.variety import Variety

import cpt
from cpt.testing import (
    EvaluatorContract,
    FakeAsk,
    ResponderContract,
    SchedulerContract,
    Scripted,
    fake_pairs,
    fake_prompts,
)


class TestProgram(ResponderContract):
    component = Program("tr a-z A-Z")

    def test_the_answer_is_what_it_prints(self):
        (answer,) = self.component.answer_all([(fake_prompts(1)[0], 0)])
        assert answer.text == "WHAT IS 0 PLUS 0?"

    def test_the_sample_is_in_the_environment(self):
        (answer,) = Program("printenv SAMPLE").answer_all([(fake_prompts(1)[0], 3)])
        assert answer.text == "3"


def test_a_program_that_fails_gives_no_answer():
    (answer,) = Program("ls /no/such/folder").answer_all([(fake_prompts(1)[0], 0)])
    assert answer.outcome == "failed" and "exit status" in answer.detail


@pytest.mark.parametrize(
    ("command", "says"),
    [("no-such-program --fast", "no 'no-such-program'"), ("", "no ''"), ("ls 'a", "no command")],
)
def test_what_cannot_be_run_is_said_before_anything_is_asked(command, says):
    with pytest.raises(cpt.CptError, match=says):
        Program(command).check()


class TestDomains(SchedulerContract):
    component = Domains()

    def test_each_domain_has_its_turn(self):
        pairs = [
            attrs.evolve(pair, prompt=attrs.evolve(pair.prompt, info={"domain": domain}))
            for pair, domain in zip(fake_pairs(6), "aaaabb", strict=True)
        ]
        first, *_ = self.component.batches(pairs, 4, 0, 1)
        assert [pairs[place].prompt.info["domain"] for place in first] == ["a", "b", "a", "b"]


class TestVariety(EvaluatorContract):
    component = Variety(samples=4)

    def model(self):
        return Scripted(says=("Yes.", "No."))

    def test_two_answers_of_four_are_a_half(self):
        found = asyncio.run(self.component.evaluate(self.model(), self.prompts(), FakeAsk()))
        assert found["variety"].value == 0.5


def test_they_are_found(cpt_cli):
    assert "program" in cpt_cli("show", "responder").output
    assert "domains" in cpt_cli("show", "scheduler").output
    assert "--evaluators.samples" in cpt_cli("--evaluators", "variety", "--help").output
