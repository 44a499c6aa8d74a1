import attrs
from cpt_near_miss.loops import NoLoops
from cpt_near_miss.pairer import NearMiss

import cpt
from cpt.testing import FilterContract, PairerContract, Scripted, fake_pairs


@attrs.frozen
class Length(cpt.Judge):
    """Likes long answers."""

    name = "length"

    async def judge(self, prompt, responses, ask):
        return cpt.Verdict(scores=tuple(float(len(response.text)) for response in responses))


class TestNearMiss(PairerContract):
    component = NearMiss(Scripted(says=("1234", "12", "123", "1")), Length(), gap=2.0)

    def test_the_rejected_is_the_best_that_is_clearly_worse(self):
        (pair,) = self.pairs(self.prompts()[0])
        assert (pair.chosen.text, pair.rejected.text, pair.margin) == ("1234", "12", 2.0)

    def test_answers_that_are_alike_give_no_pair(self):
        self.component = NearMiss(Scripted(says=("Yes.",)), Length())
        assert self.pairs(self.prompts()[0]) == []


class TestNoLoops(FilterContract):
    component = NoLoops(words=2, times=2)

    def test_a_loop_is_dropped(self):
        pair = fake_pairs(1)[0]
        looping = attrs.evolve(pair, chosen=attrs.evolve(pair.chosen, text="so it is, so it is"))
        kept, dropped = self.component.filter([pair, looping])
        assert (kept, dropped) == (pair, cpt.Drop("loop", "2 times 'so it'"))


def test_they_are_found(cpt_cli):
    shown = cpt_cli("pair", "--pairer", "near_miss", "--filters", "no_loops", "--help").output
    assert "--pairer.gap" in shown and "--filters.times" in shown
