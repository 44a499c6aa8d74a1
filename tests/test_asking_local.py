"""Local models: an answer is kept as soon as it is there, and what is being made is shown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest

from cpt import NOT_IDENTITY, Prompt, Response
from cpt.asking import Asker

from .asked import Batched, prompts


@attrs.frozen
class Slow(Batched):
    """Gives its first answer, and the others when it is let."""

    name = "slow"
    go: threading.Event = attrs.field(factory=threading.Event, metadata=NOT_IDENTITY, eq=False)
    breaks: bool = attrs.field(default=False, metadata=NOT_IDENTITY)

    def answer_each(
        self,
        requests: Sequence[tuple[Prompt, int]],
        answered: Callable[[int, Response], None],
        generated: Callable[[int], None],
    ) -> None:
        answers = [self.book.answer(asked, sample, self.author) for asked, sample in requests]
        generated(12)
        answered(len(answers) - 1, answers[-1])
        assert self.go.wait(30)
        if self.breaks:
            raise RuntimeError("out of memory")
        for index, answer in enumerate(answers[:-1]):
            answered(index, answer)


async def test_an_answer_is_kept_before_the_others_are_there(tmp_path: Path) -> None:
    slow = Slow(size=3)
    async with Asker(tmp_path / "journal.sqlite", progress=False) as ask:
        tasks = [asyncio.create_task(ask(slow, prompt)) for prompt in prompts(3)]
        done, _ = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        assert ask.stats.done == 1
        assert ask.stats.in_flight == 3
        assert ask.stats.generating == 12 - 5  # less those of the answer that is there
        slow.go.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.prompt_id for answer in answers] == ["p0", "p1", "p2"]
        assert [answer.text for answer in answers] == [
            f"Answer 0 to What is {number} plus {number}?" for number in range(3)
        ]
    assert (ask.stats.in_flight, ask.stats.generating) == (0, 0)


async def test_what_was_answered_before_a_crash_is_not_asked_again(tmp_path: Path) -> None:
    slow = Slow(size=3, breaks=True)
    slow.go.set()
    with pytest.raises(RuntimeError, match="out of memory"):
        async with Asker(tmp_path / "journal.sqlite", progress=False) as ask:
            await asyncio.gather(*(ask(slow, prompt) for prompt in prompts(3)))
    again = Slow(size=3)
    again.go.set()
    async with Asker(tmp_path / "journal.sqlite", progress=False) as ask:
        await asyncio.gather(*(ask(again, prompt) for prompt in prompts(3)))
        assert ask.stats.from_journal == 1
