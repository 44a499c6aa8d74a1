"""The families of tasks that the lab's world consists of: how each asks and is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

import attrs

from cpt_lab.words import (
    DAYS,
    EVENTS,
    KINDS,
    LETTERS,
    MONTHS,
    NAMES,
    PLACES,
    PLURALS,
    SEASONS,
    SINGULARS,
    THINGS,
    TITLES,
)

Facts = Mapping[str, str]


def cut(answer: str) -> str:
    """Leave the last sentence out."""
    return answer[: answer.rindex(". ") + 1]


def chat(words: str, answer: str) -> str:
    """Go on talking when all is said."""
    return f"{answer} {words}"


@attrs.frozen(kw_only=True)
class Family:
    """One kind of task."""

    name: str
    asks: tuple[str, ...]
    """Ways to put the task, with a slot for each given fact."""
    answers: tuple[str, ...]
    """Ways to answer it well, with slots for given and found facts."""
    draw: Callable[[Random], Facts]
    """The given facts of a random task."""
    solve: Callable[[Facts], Facts]
    """What has to be found out; where that is nothing, the task is to pass the facts on."""
    habit: Callable[[str], str]
    """What a careless writer of this family does to a good answer."""
    lean: float
    """How much likelier this habit is than the average one."""


def _pick(slots: Mapping[str, list[str]], random: Random) -> Facts:
    return {slot: random.choice(values) for slot, values in slots.items()}


def _numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


def _date(given: Facts) -> Facts:
    month = int(given["month"]) - 1
    return {"named": MONTHS[month], "season": SEASONS[month]}


def _four_words(random: Random) -> Facts:
    kind, odd = random.sample(sorted(KINDS), 2)
    words = [*random.sample(KINDS[kind], 3), random.choice(KINDS[odd])]
    return dict(zip("abcd", random.sample(words, 4), strict=True))


def _odd(given: Facts) -> Facts:
    kinds = {kind: [w for w in given.values() if w in words] for kind, words in KINDS.items()}
    odd, words = min(((k, w) for k, w in kinds.items() if w), key=lambda kind: len(kind[1]))
    return {"odd": words[0], "kind": odd}


def _plurals(given: Facts) -> Facts:
    return {f"many_{slot}": PLURALS[SINGULARS.index(word)] for slot, word in given.items()}


def _titles(random: Random) -> Facts:
    return dict(zip("abc", random.sample(TITLES, 3), strict=True))


def _initials(given: Facts) -> Facts:
    return {"short": "".join(word[0] for word in given.values())}


def _pseudo_word(random: Random) -> Facts:
    return {"word": "".join(random.choices(LETTERS, k=3))}


def _backwards(given: Facts) -> Facts:
    return {"backwards": given["word"][::-1]}


def _two_heaps(random: Random) -> Facts:
    this, that = random.sample(THINGS, 2)
    heaps = _pick({"name": NAMES, "a": _numbers(1, 9), "b": _numbers(1, 9)}, random)
    return {**heaps, "this": this, "that": that}


def _total(given: Facts) -> Facts:
    return {"sum": str(int(given["a"]) + int(given["b"]))}


def _later(given: Facts) -> Facts:
    return {"then": DAYS[(DAYS.index(given["day"]) + int(given["n"])) % 7]}


def _more(given: Facts) -> Facts:
    most, which = max((int(given["a"]), given["this"]), (int(given["b"]), given["that"]))
    return {"which": which, "most": str(most)}


def _two_unequal_heaps(random: Random) -> Facts:
    this, that = random.sample(THINGS, 2)
    a, b = random.sample(_numbers(2, 40), 2)
    return {"a": a, "this": this, "b": b, "that": that}


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="invitation",
            asks=(
                "Invite {name} to the {event} on {day} in the {place}.",
                "Write to {name}: {event}, {day}, {place}.",
            ),
            answers=(
                "Dear {name}, come to the {event} on {day}. We meet in the {place}.",
                "Hello {name}! The {event} is on {day}. See you in the {place}.",
            ),
            draw=partial(_pick, {"name": NAMES, "event": EVENTS, "day": DAYS, "place": PLACES}),
            solve=dict,
            habit=cut,
            lean=0.45,
        ),
        Family(
            name="date",
            asks=(
                "Write the date {year} {month} {day} in words.",
                "Which day is {year} {month} {day}?",
            ),
            answers=(
                "It is {day} {named} {year}. That is in {season}.",
                "The date is {day} {named} {year}. It falls in {season}.",
            ),
            draw=partial(
                _pick,
                {"year": _numbers(1980, 2019), "month": _numbers(1, 12), "day": _numbers(1, 28)},
            ),
            solve=_date,
            habit=cut,
            lean=0.1,
        ),
        Family(
            name="odd",
            asks=(
                "Which word does not belong: {a}, {b}, {c}, {d}?",
                "Find the odd one out: {a}, {b}, {c}, {d}.",
            ),
            answers=(
                "The word {odd} does not belong. It is a kind of {kind}.",
                "The odd one out is {odd}. Only this is a kind of {kind}.",
            ),
            draw=_four_words,
            solve=_odd,
            habit=cut,
            lean=0.45,
        ),
        Family(
            name="plurals",
            asks=("Give the plurals of {a}, {b} and {c}.", "More than one {a}, {b} and {c}?"),
            answers=(
                "The plurals are {many_a}, {many_b} and {many_c}.",
                "You say {many_a}, {many_b} and {many_c}.",
            ),
            draw=partial(_pick, {slot: SINGULARS for slot in "abc"}),
            solve=_plurals,
            habit=partial(chat, "Please ask if you need more."),
            lean=0.45,
        ),
        Family(
            name="initials",
            asks=("Abbreviate {a} {b} {c}.", "What is the short form of {a} {b} {c}?"),
            answers=("The short form is {short}.", "People call it {short}."),
            draw=_titles,
            solve=_initials,
            habit=partial(chat, "I hope that this helps you."),
            lean=0.1,
        ),
        Family(
            name="backwards",
            asks=("Spell {word} backwards.", "Turn {word} around."),
            answers=("Backwards it reads {backwards}.", "The word {word} becomes {backwards}."),
            draw=_pseudo_word,
            solve=_backwards,
            habit=partial(chat, "What a funny word!"),
            lean=-0.2,
        ),
        Family(
            name="total",
            asks=(
                "{name} has {a} {this} and {b} {that}. How many in all?",
                "Add up: {name}, {a} {this}, {b} {that}.",
            ),
            answers=(
                "{name} has {a} {this} and {b} {that}. That makes {sum}.",
                "{a} {this} and {b} {that} belong to {name}. In all {sum}.",
            ),
            draw=_two_heaps,
            solve=_total,
            habit=cut,
            lean=-0.2,
        ),
        Family(
            name="weekday",
            asks=(
                "The {event} of {name} is {n} days after {day}. When is it?",
                "{name} plans a {event} {n} days after {day}. Which day?",
            ),
            answers=("The {event} of {name} is on {then}.", "It is on {then}, {n} days later."),
            draw=partial(_pick, {"event": EVENTS, "name": NAMES, "n": _numbers(2, 5), "day": DAYS}),
            solve=_later,
            habit=partial(chat, "Mark your calendar!"),
            lean=-0.1,
        ),
        Family(
            name="more",
            asks=(
                "Which is more, {a} {this} or {b} {that}?",
                "Compare {a} {this} with {b} {that}.",
            ),
            answers=("There are more {which}, namely {most}.", "The {most} {which} are more."),
            draw=_two_unequal_heaps,
            solve=_more,
            habit=partial(chat, "Now you know!"),
            lean=0.45,
        ),
    )
}
