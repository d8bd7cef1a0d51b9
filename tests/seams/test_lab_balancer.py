import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lab.balancer import Balancer, Frontend, base_config
from lab.errors import LabError
from lab.metrics import Metrics, Target
from lab.ports import LOOPBACK, free_ports
from tests.support import eventually, free_port

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.fixture
async def server() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, LOOPBACK, 0)
    yield int(listener.sockets[0].getsockname()[1])
    listener.close()


@pytest.fixture
async def balancer(tmp_path: Path) -> AsyncIterator[Balancer]:
    pool_port, metrics_port = free_ports(2)
    part = Balancer(tmp_path, [Frontend("acme", "web", pool_port)], metrics_port, keep=True)
    await part.start()
    yield part
    await part.stop()


async def _status(balancer: Balancer) -> int:
    async with httpx.AsyncClient(timeout=5) as client:
        return (await client.get(f"http://{LOOPBACK}:{balancer.frontends[0].port}/")).status_code


async def test_a_server_added_at_run_time_gets_traffic(balancer: Balancer, server: int) -> None:
    assert await _status(balancer) == 503
    said = await balancer.command(
        f"add server be_acme_web/vm-1 {LOOPBACK}:{server};enable server be_acme_web/vm-1"
    )
    assert "New server registered" in said
    assert await _status(balancer) == 200


async def test_a_server_in_the_file_survives_a_reload_and_a_kill(balancer: Balancer, server: int) -> None:
    balancer.write({"be_acme_web": [f"server vm-1 {LOOPBACK}:{server}"]})
    await balancer.reload()
    assert await _status(balancer) == 200
    await balancer.kill()

    async def serves_again() -> bool:
        try:
            return balancer.part.running and await _status(balancer) == 200
        except httpx.TransportError:
            return False

    await eventually(serves_again, why="the kept balancer serves the server in its file")


async def test_a_refused_configuration_leaves_the_old_one_serving(balancer: Balancer, server: int) -> None:
    balancer.write({"be_acme_web": [f"server vm-1 {LOOPBACK}:{server}"]})
    await balancer.reload()
    balancer.write({"be_acme_web": ["serveur vm-1"]})
    with pytest.raises(LabError) as caught:
        await balancer.reload()
    assert caught.value.code == "lab.balancer-refused"
    assert await _status(balancer) == 200


async def test_a_pool_name_that_haproxy_could_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        base_config([Frontend("acme", "web\n", 1)], tmp_path / "sock", 2, {})
    assert caught.value.code == "lab.name-refused"


async def test_prometheus_sees_the_balancers_pools(balancer: Balancer, tmp_path: Path) -> None:
    target = Target("balancer", balancer.metrics_target, labels=(("org", "acme"),))
    metrics = Metrics(tmp_path / "metrics", free_port(), [target])
    await metrics.start()
    try:
        await eventually(lambda: metrics.query('haproxy_backend_status{proxy="be_acme_web",org="acme"}'), 15)
    finally:
        await metrics.stop()
