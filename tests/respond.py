"""`cpt respond` as its users have it: a process, which can be stopped."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs


def text(number: int) -> str:
    return f"Question {number:05}, of some length, so that its record has one."


def write_prompts(folder: Path, count: int) -> Path:
    path = folder / "prompts.jsonl"
    rows = ({"id": str(number), "prompt": text(number)} for number in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_ladder(path: Path, authors: Sequence[str], prompts: int = 8) -> Path:
    """Prompts that each of these authors answered in words of its own."""
    rows = (
        {
            "id": str(number),
            "prompt": f"question {number}",
            "responses": {author: f"{author} says {number}" for author in authors},
        }
        for number in range(prompts)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@attrs.frozen
class Command:
    """The flags of one run."""

    prompts: Path
    url: str
    output: Path
    responder: str = "server:m"
    flags: tuple[str, ...] = ()

    async def start(self) -> Process:
        line = ["-m", "cpt", "respond", "--json", "--prompts", str(self.prompts)]
        line += ["--responder", self.responder, "--responder.base-url", self.url]
        line += [*self.flags, "--output", str(self.output)]
        # Nothing that a service answers depends on this machine's keys.
        keys = {"OPENAI_API_KEY": "none-at-all", "ANTHROPIC_API_KEY": "none-at-all"}
        environment = {**os.environ, **keys}
        return await asyncio.create_subprocess_exec(
            sys.executable, *line, stdout=PIPE, stderr=PIPE, env=environment
        )

    async def run(self) -> tuple[int | None, Any, str]:
        """The exit status, what it printed, and what it said."""
        return await finished(await self.start())

    def journaled(self) -> set[str]:
        """The prompts whose answers are on the disk."""
        journal = self.output / "journal.sqlite"
        if not journal.exists():
            return set()
        query = (
            "SELECT json_extract(messages, '$[0].content') FROM answers JOIN requests USING (key)"
        )
        with closing(sqlite3.connect(journal)) as connection:
            try:
                return {text for (text,) in connection.execute(query)}
            except sqlite3.OperationalError:
                return set()  # It was killed before there were tables.

    def whole(self) -> bool:
        with closing(sqlite3.connect(self.output / "journal.sqlite")) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


async def finished(process: Process) -> tuple[int | None, Any, str]:
    out, said = await process.communicate()
    return process.returncode, json.loads(out) if out else None, said.decode()
