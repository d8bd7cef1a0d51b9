"""`virtscale up` as a person runs it: in a terminal, until Ctrl-C; and what it leaves behind, which is the ledger."""

import asyncio
import errno
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from lab.hypervisor import short_directory
from lab.part import find_program
from lab.ports import LOOPBACK, require_free
from tests.seams.crew import ROOT
from tests.seams.house import Done, run
from tests.support import eventually
from virtscale.world import Ports

RUNS_SECONDS: Final = 90.0
ENDS_SECONDS: Final = 30.0
SHIFT: Final = 200 + os.getpid() % 400
"""Somebody may well run `make up` while the tests run."""
PORTS: Final = Ports.usual(SHIFT)
PROGRAM: Final = Path(sys.executable).with_name("virtscale")
CTRL_C: Final = b"\x03"


class Terminal:
    """A pseudo-terminal with `virtscale up` in its foreground, and everything that it wrote there."""

    def __init__(self, house: Path) -> None:
        self._house = house
        self._keyboard, self._line = os.openpty()
        self._written = bytearray()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def text(self) -> str:
        return self._written.decode(errors="replace").replace("\r\n", "\n")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def up(self, *words: str) -> None:
        """The command runs, and the terminal is its own, so that Ctrl-C reaches it as it reaches a person's."""
        setsid = find_program("setsid")
        assert setsid is not None
        self._process = await asyncio.create_subprocess_exec(
            *(setsid, "--ctty", str(PROGRAM), "up", "--shift-ports", str(SHIFT), *words),
            cwd=ROOT,
            stdin=self._line,
            stdout=self._line,
            stderr=self._line,
            env={**os.environ, "VIRTSCALE_HOUSE": str(self._house)},
        )
        asyncio.get_running_loop().add_reader(self._keyboard, self._take)

    async def reaches(self, words: str) -> None:
        """The words stand on the screen."""

        def shown() -> bool:
            assert self._process is not None
            assert self._process.returncode is None or words in self.text, self.text
            return words in self.text

        await eventually(shown, RUNS_SECONDS, why=f"{words!r} is not shown", every_seconds=0.05)

    def type(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ends(self) -> int:
        """The exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), ENDS_SECONDS)

    async def close(self) -> None:
        """Nothing runs in the terminal any more."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._keyboard)
        os.close(self._keyboard)
        os.close(self._line)

    def _take(self) -> None:
        try:
            self._written += os.read(self._keyboard, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise


@pytest.fixture
def house() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="vs-up-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
    shutil.rmtree(short_directory(directory), ignore_errors=True)


@pytest.fixture
async def terminal(house: Path) -> AsyncIterator[Terminal]:
    terminal = Terminal(house)
    yield terminal
    await terminal.close()


def processes_of(house: Path) -> dict[int, str]:
    """Every process that names the house or its private directory in its command line."""
    marks = (str(house), str(short_directory(house)))
    found: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(mark in line for mark in marks):
            found[int(path.parent.name)] = line
    return found


def family(pid: int) -> set[int]:
    """The process and all that it started, as far as they still have their parent."""
    members = {pid}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        members |= family(int(child))
    return members


async def nothing_is_left(house: Path, known: set[int]) -> None:
    def gone() -> bool:
        return not processes_of(house) and not any(_lives(pid) for pid in known)

    await eventually(gone, 10.0, why=f"left: {processes_of(house)}")
    PORTS.require_free()
    require_free(PORTS.guests, "a guest")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def events_of(house: Path) -> list[dict]:
    done = await run(PROGRAM, "ledger", "tail", "-n", "1000", "-o", "json", house=house)
    assert done.code == 0, done.err
    return [msgspec.json.decode(line) for line in done.out.splitlines()]


async def test_up_runs_until_ctrl_c_and_finds_its_ledger_again(house: Path, terminal: Terminal) -> None:
    await terminal.up("--stock", "1")
    await terminal.reaches("Everything runs. In another terminal, in this directory:")
    assert "pool acme/web: 1 of 1 VMs booted and suspended" in terminal.text
    await terminal.reaches("acme/web 0 serving, 1 asleep | acme 0 of 110 vCPU | Ctrl-C stops")
    first = await events_of(house)
    assert [event["seq"] for event in first] == list(range(1, len(first) + 1))
    known = family(terminal.pid)
    guests = [line for line in processes_of(house).values() if "qemu" in line]
    assert len(known) > 4
    assert guests

    terminal.type(CTRL_C)

    assert await terminal.ends() == 0, terminal.text
    assert "everything that was started is gone; the ledger stays in" in terminal.text
    assert "Traceback" not in terminal.text
    await nothing_is_left(house, known)
    assert not short_directory(house).exists()

    again = Terminal(house)
    try:
        await again.up("--stock", "1")
        await again.reaches("Everything runs.")
        second = await events_of(house)
        assert second[: len(first)] == first
        assert [event["seq"] for event in second] == list(range(1, len(second) + 1))
        asked = await run(PROGRAM, "scale", "acme/web", "+1", house=house)
        assert asked.code == 0, asked.err
        known = family(again.pid)
        again.send(signal.SIGTERM)
        assert await again.ends() == 0, again.text
        await nothing_is_left(house, known)
    finally:
        await again.close()


async def test_the_test_substrate_says_that_nobody_serves_and_nothing_survives_a_kill(
    house: Path, terminal: Terminal
) -> None:
    await terminal.up("--substrate", "test")
    await terminal.reaches("Everything runs.")
    assert "no guest runs in them and none serves" in terminal.text
    known = family(terminal.pid)

    terminal.send(signal.SIGKILL)

    assert await terminal.ends() == -signal.SIGKILL
    await nothing_is_left(house, known)


@pytest.mark.parametrize("port", [PORTS.bus, PORTS.traffic, PORTS.metrics], ids=["bus", "traffic", "metrics"])
async def test_a_taken_port_is_said_in_one_sentence_before_anything_is_started(
    house: Path, port: int
) -> None:
    with socket.create_server((LOOPBACK, port)):
        done = await run(PROGRAM, "up", "--shift-ports", str(SHIFT), house=house)

    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert f"Port {port} on {LOOPBACK}" in done.err
    assert f"ss -ltnp 'sport = :{port}'" in done.err
    assert "virtscale up --shift-ports" in done.err
    await nothing_is_left(house, set())


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("pools",), 1, "`make up`"),
        (("scale", "acme/web", "+1"), 1, "`make up`"),
        (("ledger", "tail"), 1, "`make up`"),
        (("up", "--substrate", "paper"), 2, "choose qemu or test"),
        (("up", "--shift-ports", "50000"), 2, "choose 0 to 40000"),
        (("up", "--stock", "0"), 2, "0 VMs cannot be asked for"),
        (("up", "--stock", "-1"), 2, "-1 VMs cannot be asked for"),
        (("up", "--stock", "99999"), 2, "one request moves 1 to 10000 VMs"),
        (("person", "show", "No Name"), 2, "is no person id"),
        (("publisher", "add", "acme", "shop"), 1, "`make up`"),
    ],
)
async def test_a_command_without_a_house_says_how_to_start_one(
    house: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    done: Done = await run(PROGRAM, *words, house=house / "nowhere")

    assert done.code == code
    assert len(done.err.splitlines()) == 1
    assert sentence in done.err
    assert not (house / "nowhere").exists()
