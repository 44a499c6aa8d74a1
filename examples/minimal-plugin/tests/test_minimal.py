from cpt_minimal import Brief, Csv, Hinge

from cpt.testing import (
    MonotoneLossContract,
    ObserverContract,
    PairerContract,
    Scripted,
    fake_batch,
)


class TestHinge(MonotoneLossContract):
    component = Hinge(beta=0.3)


class TestBrief(PairerContract):
    component = Brief(student=Scripted(says=("Yes, I think that it is.", "Yes.")))

    def test_the_shorter_answer_is_preferred(self):
        (pair,) = self.pairs(self.prompts()[0])
        assert (pair.chosen.text, pair.margin) == ("Yes.", 20.0)


class TestCsv(ObserverContract):
    component = Csv(every=2)

    def test_every_second_loss_is_a_row(self, tmp_path):
        for step in range(1, 5):
            self.component.cpt_metrics_logged(tmp_path, step, {"loss": 1 / step})
        assert (tmp_path / "loss.csv").read_text() == "2,0.500000\n4,0.250000\n"


def test_the_command_finds_the_lowest_loss(cpt_cli, tmp_path):
    (tmp_path / "loss.csv").write_text("1,0.7\n2,0.5\n3,0.6\n")
    assert cpt_cli("lowest", tmp_path).output == "step 2: 0.5\n"
    (tmp_path / "loss.csv").unlink()
    assert "train with --observers csv" in cpt_cli("lowest", tmp_path).stderr


def test_a_pair_far_enough_apart_costs_nothing():
    assert Hinge(beta=100.0)(fake_batch(pairs=64)).eq(0).any()


def test_they_are_found(cpt_cli):
    assert "my_hinge" in cpt_cli("show", "loss").output
    assert "--observers.every" in cpt_cli("--observers", "csv", "--help").output
    assert "--pairer.student" in cpt_cli("--pairer", "brief", "--help").output
