"""The words of the lab's world."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words("Anna Ben Carla David Emma Felix Grace Hugo Iris Jack Kate Liam Mia Noah Olga Paul")
EVENTS = _words("party picnic concert lunch dinner meeting game walk wedding lesson fair show")
PLACES = _words("garden library museum school station harbour theatre market castle office")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words(
    "January February March April May June July August September October November December"
)
SEASONS = _words(
    "winter winter spring spring spring summer summer summer autumn autumn autumn winter"
)
"""Of each month."""
KINDS = {
    "animal": _words("cat dog cow horse sheep goat rabbit mouse"),
    "fruit": _words("apple pear plum cherry lemon peach melon grape"),
    "tool": _words("hammer saw drill spade rake axe chisel wrench"),
    "drink": _words("tea coffee milk juice water cider cocoa soda"),
}
SINGULARS = _words(
    "box fox dish bus city baby lady fly leaf knife wolf shelf child foot tooth man goose ox "
    "book chair house river key day roof piano potato hero church story"
)
PLURALS = _words(
    "boxes foxes dishes buses cities babies ladies flies leaves knives wolves shelves children "
    "feet teeth men geese oxen books chairs houses rivers keys days roofs pianos potatoes heroes "
    "churches stories"
)
"""Of each singular."""
TITLES = _words(
    "National Royal Central Open United Modern Public Free Global Eastern "
    "Science Trade Music Energy Health Film Youth Water Labour Export "
    "Union Board League Office Institute Council Agency Fund Network Society"
)
THINGS = _words("coins books stamps shells cards keys stones pens")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
