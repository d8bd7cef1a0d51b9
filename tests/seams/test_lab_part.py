import asyncio
import errno
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.part import Part, Plan, Probe
from lab.ports import LOOPBACK, free_ports, require_free
from tests.support import eventually

ROOT = Path(__file__).parents[2]


async def _at_once() -> bool:
    return True


async def _never() -> bool:
    return False


def _plan(
    directory: Path, *argv: str, ready: Probe = _at_once, keep: bool = False, stop: float = 5.0
) -> Plan:
    return Plan("thing", argv, directory, ready, "make up", ready_seconds=0.5, stop_seconds=stop, keep=keep)


def _alive(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].strip().startswith("Z")
    except FileNotFoundError:
        return False


async def test_a_kept_part_that_dies_is_started_again_and_says_so(tmp_path: Path) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    part = Part(_plan(tmp_path, "sleep", "1000", keep=True), lambda _, text: told.put_nowait(text))
    await part.start()
    first = part.pid
    await part.kill()
    async with asyncio.timeout(5):
        assert await told.get() == "ended (killed by SIGKILL); starting again in 0.1 s"
        assert await told.get() == "serves again"
    assert part.pid not in {None, first}
    await part.stop()
    assert not part.running
    assert told.empty()


async def test_a_part_that_is_not_kept_stays_dead_until_it_is_started(tmp_path: Path) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    part = Part(_plan(tmp_path, "sleep", "1000"), lambda _, text: told.put_nowait(text))
    await part.start()
    await part.kill()
    assert await asyncio.wait_for(told.get(), 5) == "ended (killed by SIGKILL) and is not kept"
    assert not part.running
    await part.start()
    assert part.running
    await part.stop()


async def test_a_part_deaf_to_sigterm_is_killed_after_its_deadline(tmp_path: Path) -> None:
    up = tmp_path / "up"
    script = f"trap '' TERM; touch {up}; while :; do sleep 1; done"
    deaf = Part(_plan(tmp_path, "sh", "-c", script, stop=0.2))
    await deaf.start()
    await eventually(up.exists)
    pid = deaf.pid
    assert pid is not None
    await deaf.stop()
    assert not _alive(pid)


async def test_a_part_that_ends_at_its_start_is_quoted_with_the_command_that_mends_it(tmp_path: Path) -> None:
    part = Part(_plan(tmp_path, "sh", "-c", "echo no luck today; exit 3", ready=_never))
    with pytest.raises(LabError) as caught:
        await part.start()
    assert caught.value.code == "lab.part-exited"
    assert "exit code 3" in str(caught.value)
    assert '"no luck today"' in str(caught.value)
    assert str(caught.value).endswith("run `make up`.")


async def test_a_part_that_never_answers_is_not_left_running(tmp_path: Path) -> None:
    part = Part(_plan(tmp_path, "sleep", "1000", ready=_never))
    with pytest.raises(LabError) as caught:
        await part.start()
    assert caught.value.code == "lab.part-not-ready"
    assert not part.running


async def test_a_missing_program_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        await Part(_plan(tmp_path, "no-such-program")).start()
    assert caught.value.code == "lab.binary-missing"


async def test_a_part_dies_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from lab.part import Part, Plan\n"
        "async def yes(): return True\n"
        "async def main():\n"
        "    part = Part(Plan('thing', ('sleep', '1000'), pathlib.Path(sys.argv[1]), yes, 'make up'))\n"
        "    await part.start()\n"
        "    print(part.pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    assert _alive(child)
    # The child says that it runs before its own wish to die with us is set; wait until it is really sleep.
    await eventually(lambda: Path(f"/proc/{child}/comm").read_text().strip() == "sleep")
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await eventually(lambda: not _alive(child), why="the child followed its parent")


def test_a_taken_port_is_named_with_who_wanted_it() -> None:
    port, other = free_ports(2)
    assert port != other
    with socket.socket() as listener:
        listener.bind((LOOPBACK, port))
        listener.listen()
        with pytest.raises(LabError) as caught:
            require_free(port, "the bus")
    assert caught.value.code == "lab.port-taken"
    assert f"Port {port} on 127.0.0.1, wanted by the bus, is taken" in str(caught.value)
    require_free(other, "the bus")


async def test_a_kept_part_is_tried_again_when_no_process_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    part = Part(_plan(tmp_path, "sleep", "1000", keep=True), lambda _, text: told.put_nowait(text))
    await part.start()
    spawn, failures = asyncio.create_subprocess_exec, iter(range(2))

    async def short_of_processes(*argv: str, **named: Any) -> asyncio.subprocess.Process:
        if next(failures, None) is not None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return await spawn(*argv, **named)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", short_of_processes)
    await part.kill()
    async with asyncio.timeout(5):
        while "could not be started: [Errno 11]" not in await told.get():
            pass
        while await told.get() != "serves again":
            pass
    assert part.running
    await part.stop()


async def test_a_part_is_stopped_even_when_its_watcher_has_died(tmp_path: Path) -> None:
    def on_change(_: str, text: str) -> None:
        if text == "serves again":
            raise ValueError("nobody listens")

    part = Part(_plan(tmp_path, "sleep", "1000", keep=True), on_change)
    await part.start()
    first = part.pid
    await part.kill()
    await eventually(lambda: part.pid not in {None, first})
    pid = part.pid
    assert pid is not None
    with pytest.raises(ValueError, match="nobody listens"):
        await part.stop()
    assert not _alive(pid)
