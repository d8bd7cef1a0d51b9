"""A day of demand on real parts: users that send requests, guests that serve them, and nothing left behind."""

import asyncio
import datetime as dt
import io
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from events.tlog.files import DirectoryFiles
from lab.errors import LabError
from lab.hypervisor import short_directory
from lab.ports import LOOPBACK
from tests.seams.test_up import processes_of
from tests.support import eventually
from virtscale.demo.crowd import Requests, crowd
from virtscale.demo.day import Day, Piece, piece_of, second_of, usual
from virtscale.demo.live import Plan, Played, play
from virtscale.demo.screen import Screen
from virtscale.demo.users import Asked
from virtscale.demo.written import write_clients, write_page

STEADY = Piece(Day("steady", (0.0,), (1.0,)), 0, 600, 1.0, 2, 1.0)
"""One VM's worth of demand, all day."""


@dataclass
class Site:
    """A server that answers as it is told, and counts."""

    port: int = 0
    connections: int = 0
    asked: int = 0
    closing: bool = False
    """Each connection is closed after its answer, without a word."""
    status: bytes = b"200 OK"
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                writer.write(b"HTTP/1.1 " + self.status + b"\r\nContent-Length: 6\r\n\r\nweb-1\n")
                await writer.drain()
                if self.closing:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, LOOPBACK, 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site
        for writer in site.writers:
            writer.close()


@asynccontextmanager
async def visited(site: Site, per_second: float) -> AsyncGenerator[Requests]:
    requests = Requests()
    now = dt.datetime.now(dt.UTC).timestamp()
    async with crowd(Asked(STEADY, now, per_second, LOOPBACK, site.port), requests):
        yield requests


async def test_users_send_what_the_curve_says_on_connections_that_they_keep(site: Site) -> None:
    async with visited(site, 100.0) as requests:
        await eventually(lambda: len(requests.due_at) >= 100, 10.0, why="too few requests")
    assert site.connections <= 5
    assert requests.vms == {"web-1": 0}
    assert not requests.failures
    gaps = [after - before for before, after in zip(requests.due_at, list(requests.due_at)[1:], strict=False)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.01, rel=0.1)


async def test_a_kept_connection_that_was_closed_fails_nobody(site: Site) -> None:
    site.closing = True
    async with visited(site, 50.0) as requests:
        await eventually(lambda: len(requests.due_at) >= 25, 10.0, why="too few requests")
    assert not requests.failures
    assert site.connections >= 25


async def test_what_goes_wrong_is_counted_by_what_it_was(site: Site) -> None:
    site.status = b"503 Service Unavailable"
    async with visited(site, 50.0) as requests:
        await eventually(lambda: requests.failures.get("status 503", 0) >= 10, 10.0, why="no failure")
    assert not requests.vms


async def test_users_who_are_gone_end_the_run_and_a_run_that_ends_ends_them(site: Site) -> None:
    async with visited(site, 10.0):
        assert len(_users()) == 1
    assert not _users()
    with pytest.raises(ExceptionGroup) as raised:
        await _robbed(site)
    assert raised.group_contains(LabError, match="ended by itself")


async def _robbed(site: Site) -> None:
    """Somebody kills the users while a run waits."""
    async with visited(site, 10.0):
        (users,) = _users()
        os.kill(users, signal.SIGKILL)
        await asyncio.Event().wait()


def _users() -> list[int]:
    """Users' processes that we started."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"virtscale.demo.users" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


# --------------------------------------------------------------------------------------------------- with real guests


@pytest.fixture
def directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="vs-demo-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
    shutil.rmtree(short_directory(directory / "house"), ignore_errors=True)


async def test_a_short_piece_of_a_day_is_served_by_real_guests_and_told(directory: Path) -> None:
    piece = piece_of(usual(), second_of("07:30"), second_of("07:34"), 60, 2)
    plan = Plan(piece, directory, "a test", history_days=1, run_in_seconds=1.0, crew_seconds=1.0)
    played, out = Played(), io.StringIO()

    await play(plan, played, Screen(2, out))

    seen = played.told(plan.source)
    assert seen is not None
    assert seen.requests > 10, out.getvalue()
    assert seen.failed == 0
    assert seen.seconds == 4
    assert set(played.requests.vms) <= {"vs-acme.web-1", "vs-acme.web-2"}
    assert re.search("telemetry: 5,7[56][0-9] ticks of a former day were made up", out.getvalue())
    write_clients(directory, seen)
    said = await write_page(directory, DirectoryFiles(plan.house / "audit"), seen)
    assert "the engineering page, from events 1 to" in said
    page = (directory / "report.html").read_text()
    assert "a test" in page
    assert not processes_of(plan.house)


@pytest.mark.long
async def test_ctrl_c_ends_everything_at_any_time_and_the_report_is_of_what_was(directory: Path) -> None:
    program = Path(sys.executable).with_name("virtscale")
    into = directory / "run"
    process = await asyncio.create_subprocess_exec(
        *(str(program), "demo", "day", "--vms", "2", "--into", str(into)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = ""
    while "| demand" not in said:
        line = (await asyncio.wait_for(process.stdout.readline(), 240)).decode()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(process.communicate(), 60)
    said += rest.decode()
    assert process.returncode == 130, said
    assert "everything that was started is gone" in said
    assert "Traceback" not in said
    assert re.search(r"report\.html: the engineering page, from events 1 to [0-9]+", said)
    assert (into / "clients.json").exists()
    assert not processes_of(into / "house")
    assert not short_directory(into / "house").exists()
