from cpt_minimal import Brief, Hinge

from cpt.testing import LossContract, PairerContract, Scripted, fake_batch


class TestHinge(LossContract):
    component = Hinge(beta=0.3)


class TestBrief(PairerContract):
    component = Brief(student=Scripted(says=("Yes, I think that it is.", "Yes.")))

    def test_the_shorter_answer_is_preferred(self):
        (pair,) = self.pairs(self.prompts()[0])
        assert (pair.chosen.text, pair.margin) == ("Yes.", 20.0)


def test_a_pair_far_enough_apart_costs_nothing():
    assert Hinge(beta=100.0)(fake_batch(pairs=64)).eq(0).any()


def test_they_are_found(cpt_cli):
    assert "hinge" in cpt_cli("show", "loss").output
    assert "--pairer.student" in cpt_cli("--pairer", "brief", "--help").output
