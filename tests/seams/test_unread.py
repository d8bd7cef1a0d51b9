"""Output that nobody reads to its end, as with `| head`: the command ends without a word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from events.tlog.files import DirectoryFiles
from tests.rules.archives import messages, seal

PROGRAM = Path(sys.executable).with_name("virtscale")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    directory = tmp_path / "export"
    directory.mkdir()
    seal(DirectoryFiles(directory), messages(10))
    return directory


def unread(*words: str, buffered: bool) -> tuple[int, str]:
    """The exit code and what was said of a command whose output has no reader."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [PROGRAM, *words],
            check=False,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            env=os.environ | {"PYTHONUNBUFFERED": "" if buffered else "1"},
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("state", "code"), [("whole", 0), ("altered", 1)])
def test_a_command_that_was_done_ends_quietly_and_with_its_own_code(
    archive: Path, state: str, code: int
) -> None:
    if state == "altered":
        bundle = archive / "tile/entries/000.p/10"
        bundle.write_bytes(bundle.read_bytes()[:-1] + b"!")
    ended, said = unread("ledger", "verify", "--from", str(archive), buffered=True)
    assert (ended, "Error" in said, "Exception" in said) == (code, False, False), said


def test_a_command_whose_reader_leaves_in_between_ends_quietly_as_one_that_was_cut_off(archive: Path) -> None:
    ended, said = unread("ledger", "verify", "--from", str(archive), "-o", "json", buffered=False)
    assert (ended, "Error" in said, "Traceback" in said) == (141, False, False), said
