import asyncio
from pathlib import Path

import httpx
import pytest

from events.clock import SystemClock
from lab.alertmanager import SNAPSHOT_SECONDS, Alertmanager
from lab.errors import LabError
from lab.ports import LOOPBACK
from tests.seams.alerts import alert, listed, silence
from tests.support import eventually, free_port


async def test_an_alertmanager_answers_within_a_second_and_is_gone_when_it_is_stopped(tmp_path: Path) -> None:
    port = free_port()
    alertmanager = Alertmanager(tmp_path, port)
    began = asyncio.get_running_loop().time()
    await alertmanager.start()
    assert asyncio.get_running_loop().time() - began < 1.0
    pid = alertmanager.part.pid
    with pytest.raises(LabError) as caught:
        await Alertmanager(tmp_path / "other", port).start()
    assert caught.value.code == "lab.port-taken"
    await alertmanager.stop()
    assert not Path(f"/proc/{pid}").exists()


async def test_it_listens_on_loopback_alone_and_on_no_other_port(tmp_path: Path) -> None:
    port = free_port()
    alertmanager = Alertmanager(tmp_path, port)
    await alertmanager.start()
    sockets = {link.readlink().name for link in Path(f"/proc/{alertmanager.part.pid}/fd").iterdir()}
    listening = [
        fields[1]
        for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if f"socket:[{(fields := line.split())[9]}]" in sockets
        and fields[3] == ("0A" if table.startswith("tcp") else "07")
    ]
    await alertmanager.stop()
    assert listening == [f"0100007F:{port:04X}"]


async def test_its_silences_outlive_a_stop(tmp_path: Path) -> None:
    alertmanager = Alertmanager(tmp_path, free_port())
    await alertmanager.start()
    async with httpx.AsyncClient(base_url=alertmanager.url, trust_env=False) as http:
        first = await silence(http, SystemClock().now(), vm="db")
        await alertmanager.part.restart()
        assert await listed(http) == {first: "active"}
    await alertmanager.stop()


async def test_its_silences_outlive_a_kill_once_they_were_written(tmp_path: Path) -> None:
    alertmanager = Alertmanager(tmp_path, free_port(), keep=True)
    await alertmanager.start()
    written = tmp_path / "data" / "silences"
    async with httpx.AsyncClient(base_url=alertmanager.url, trust_env=False) as http:
        first = await silence(http, SystemClock().now(), vm="db")
        await eventually(lambda: written.exists() and written.stat().st_size > 0, SNAPSHOT_SECONDS + 3)
        second = await silence(http, SystemClock().now(), vm="web")
        former = alertmanager.part.pid
        await alertmanager.part.kill()
        await eventually(lambda: alertmanager.part.pid not in {None, former}, 5)
        await eventually(lambda: _is_up(http), 5)
        assert await listed(http) == {first: "active"}, f"{second} was set since, and is forgotten"
    await alertmanager.stop()


async def _is_up(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/-/ready")).is_success
    except httpx.TransportError:
        return False


async def test_a_webhook_is_told_at_once_of_what_is_not_suppressed(tmp_path: Path) -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue(8)

    async def hook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().splitlines() if b"content-length" in line
        )
        told.put_nowait(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hook, LOOPBACK, 0)
    url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/"
    alertmanager = Alertmanager(tmp_path, free_port(), webhook=url)
    await alertmanager.start()
    async with httpx.AsyncClient(base_url=alertmanager.url, trust_env=False) as http:
        await silence(http, SystemClock().now(), vm="db")
        await alert(http, org="acme", vm="db")
        await alert(http, org="acme", vm="web")
        async with asyncio.timeout(3):
            said = await told.get()
        assert b'"vm":"web"' in said
        assert told.empty(), "the alert that is silenced came first, and nobody was told"
    await alertmanager.stop()
    server.close()
