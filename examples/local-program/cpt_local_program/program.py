"""Answers that a program prints."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence

import attrs
from attrs.validators import gt

import cpt


@attrs.frozen
class Program(cpt.Local):
    """Asks a program: the prompt is its standard input, what it prints is the answer.

    Of a chat only the last message is sent. The number of the sample is in the environment
    variable SAMPLE: without a seed made of it, the second answer may be the first again.
    """

    name = "program"
    command: str
    """The program and its arguments, as in a shell; nothing else of a shell is understood."""
    seconds: float = attrs.field(default=120.0, validator=gt(0.0), metadata=cpt.NOT_IDENTITY)
    """How long it may take for one answer."""

    @property
    def author(self) -> str:
        """The command itself."""
        return self.command

    def check(self) -> None:
        """Raise `CptError` if there is no such program, or if this is no command."""
        try:
            program, *_ = shlex.split(self.command) or [""]
        except ValueError as error:
            raise cpt.CptError(f"program: {self.command!r} is no command: {error}.") from error
        if not shutil.which(program):
            raise cpt.CptError(f"program: there is no {program!r} to run; install it, or name it.")

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        """Run it once for every request."""
        return [self._answer(prompt, sample) for prompt, sample in requests]

    def _answer(self, prompt: cpt.Prompt, sample: int) -> cpt.Response:
        try:
            done = subprocess.run(
                shlex.split(self.command),
                input=prompt.messages[-1].content,
                env={**os.environ, "SAMPLE": str(sample)},
                capture_output=True,
                text=True,
                timeout=self.seconds,
            )
        except subprocess.TimeoutExpired:
            return self._failed(prompt, f"no answer in {self.seconds:g} seconds")
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or [""]
            return self._failed(prompt, f"exit status {done.returncode}: {said[0]}")
        return self._response(prompt, done.stdout.strip())

    def _response(self, prompt: cpt.Prompt, text: str) -> cpt.Response:
        outcome = cpt.Outcome.ANSWERED if text else cpt.Outcome.EMPTY
        return cpt.Response(prompt_id=prompt.id, text=text, author=self.author, outcome=outcome)

    def _failed(self, prompt: cpt.Prompt, detail: str) -> cpt.Response:
        return cpt.Response(
            prompt_id=prompt.id,
            text="",
            author=self.author,
            outcome=cpt.Outcome.FAILED,
            detail=detail,
        )
