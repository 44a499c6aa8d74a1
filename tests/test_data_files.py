"""A file is whole or not there."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from cpt.files import atomic, write_text


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "made" / "a.txt", "tä")
    assert (tmp_path / "made" / "a.txt").read_text(encoding="utf-8") == "tä"
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["a.txt"]


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_of_the_file_that_it_had_no_room_for(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(OSError) as full, atomic(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.filename == str(path)
    with pytest.raises(OSError) as other, atomic(path):
        (tmp_path / "none.txt").read_text()
    assert other.value.filename == str(tmp_path / "none.txt")


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = """
import os, signal, sys
from pathlib import Path
from cpt.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert path.read_text() == "old"
