"""What can go wrong, in words that a user can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cpt.secrets import one_line

LONGEST = 600
"""Characters of a message; of a longer one the middle is left out."""
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""Control characters, marks that turn text around, halves of characters."""


def printable(text: str) -> str:
    """The same text with what a terminal would obey or hide made visible: `\\x1b`."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def shortened(text: str, most: int = LONGEST) -> str:
    """One printable line of at most this many characters, with its begin and its end."""
    return _cut(printable(" ".join(map(str.strip, _cut(text, most).splitlines()))), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    begin = most * 2 // 3
    return f"{text[:begin]} ... {text[len(text) + 5 + begin - most :]}"


class CptError(click.ClickException):
    """The user's to fix: shown as one line (what, where, how to fix), exit status 2."""

    exit_code = 2

    def format_message(self) -> str:
        """What a user sees: one line, printable, not longer than `LONGEST`."""
        return shortened(self.message)

    def __str__(self) -> str:
        return self.format_message()


class UnknownComponent(CptError):
    """No component of that role has that name, or several plugins offer one of it."""


class BadOptions(CptError):
    """Options that do not fit the component they were given to."""


class BadData(CptError):
    """Prompts, responses or pairs that cannot be read as what they should be."""


class Media(BadData):
    """A row that holds an image, a video or a sound, where only text can be used."""


class WrongReturn(CptError):
    """A component of a plugin returned what its role does not allow."""


class NoPair(Exception):
    """Why a prompt gives no pair (raised by a pairer), or why one pair of several is missing.

    The second is returned among the pairs. Both are counted by `reason` and never an error.
    """

    def __init__(self, reason: str, detail: str = "", raw: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        """A short name that is counted: `tie`, `no_identifiers`, `cut_off`."""
        self.detail = detail
        """What happened here, in one line."""
        self.raw = raw
        """The text that was refused, whole."""


class Stopped(CptError):
    """The run could not continue (a dead service, a full disk); what it has is kept."""

    exit_code = 1


class AskError(Exception):
    """A responder could not answer one request; the kind says what the engine does next.

    Its message is one line of at most 400 characters, without any key that was sent.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))

    def __str__(self) -> str:
        # A key that became known since is no more in it than others.
        return one_line(super().__str__())


class Overloaded(AskError):
    """Too much at once (429, 529): ask again, later and slower."""

    def __init__(self, message: object = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the service asked us to wait."""


class Unreachable(AskError):
    """Nothing usable came back (5xx, a time-out, a cut connection): ask again."""


class Malformed(Unreachable):
    """What came back whole is no answer (broken JSON, a web page): ask again."""


class Rejected(AskError):
    """This request can never succeed (400: too long, not allowed): record it and continue.

    With `of_all`, what was refused looks like an option or the server's own settings: if the
    service has answered nothing yet, the run stops.
    """

    def __init__(self, message: object = "", *, of_all: bool = False) -> None:
        super().__init__(message)
        self.of_all = of_all


class Filtered(Rejected):
    """A filter of the service refused this one input: record it as `filtered` and continue."""


class Denied(AskError):
    """No request can succeed (wrong key, unknown model): stop at once, keep what is there."""


@contextmanager
def during(what: str) -> Iterator[None]:
    """Say below the traceback of a bug what was being done, as a component may be anyone's."""
    try:
        yield
    except (CptError, NoPair):
        raise
    except SystemExit as error:
        raise CptError(
            f"sys.exit({error.code!r}) was called while {what}; raise an error there instead."
        ) from error
    except Exception as error:
        error.add_note(f"This happened while {what}.")
        raise


def first_line(error: Exception) -> str:
    """What an error says first."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(" .:")
