"""A worker in a process of its own: `python -m services.NAME` against a real bus."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from events import keys
from events.bus import nats, permissions, streams
from events.bus.permissions import Permit
from events.bus.port import BusError
from lab.bus import BusServer, BusUser
from lab.ports import LOOPBACK
from schemas.house import FILE, House
from schemas.intake import Rejection
from tests.support import eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
SHOP = permissions.publisher("acme", "shop")


def house_at(here: Path, url: str) -> House:
    return House(
        directory=str(here),
        bus_url=url,
        keys=str(here / "keys"),
        signing_keys=str(here / "signing"),
        contracts=str(here / "contracts"),
        pools=str(here / "pools"),
        templates=str(here / "templates"),
        vault=str(here / "vault"),
        hosts=(),
        balancer_socket=str(here / "balancer.sock"),
        balancer_config=str(here / "balancer.cfg"),
        balancer_base=str(here / "balancer.base"),
        smtp_host=LOOPBACK,
        smtp_port=1,
        prometheus_url=f"http://{LOOPBACK}:1",
        metrics_port=1,
        audit="",
        audit_key="",
        origin="ledger.test/house",
        marks=str(here / "marks"),
    )


@dataclass(frozen=True)
class Site:
    directory: Path
    server: BusServer

    async def connect(self, permit: Permit) -> nats.NatsBus:
        seed = keys.read(keys.path_of(self.directory / "keys", permit.name))
        return await nats.connect(
            self.server.url, permit.name, seed=seed, inbox=permit.inbox, on_fault=lambda _: None
        )

    async def start(self, name: str, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"services.{name}",
            "--house",
            str(self.directory),
            *arguments,
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    permits = [*permissions.workers(["h1"]), permissions.admin(), SHOP]
    users = [
        BusUser(
            permit.name,
            keys.create(keys.path_of(tmp_path / "keys", permit.name)),
            permit.publish,
            permit.subscribe,
            permit.allow_responses,
        )
        for permit in permits
    ]
    server = BusServer(tmp_path / "bus", free_port(), users)
    await server.start()
    site = Site(tmp_path, server)
    (tmp_path / FILE).write_bytes(msgspec.json.encode(house_at(tmp_path, server.url)))
    admin = await site.connect(permissions.admin())
    await streams.establish(admin)
    await admin.close()
    yield site
    await server.stop()


async def said(process: asyncio.subprocess.Process) -> tuple[int, str]:
    _, errors = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def test_a_worker_alone_serves_until_it_is_told_to_end(site: Site) -> None:
    port = free_port()
    process = await site.start("signal", "--metrics-port", str(port))
    shop = await site.connect(SHOP)

    async def answered() -> bytes | None:
        try:
            return await shop.ask("in.acme.shop.scale", b'{"pool":"web","key":"k","add":1}', 2.0)
        except BusError:
            return None

    reply = await eventually(answered, 20, why="the intake answers")
    assert reply is not None
    assert msgspec.json.decode(reply, type=Rejection).code == "OrgUnknown"
    assert b'virtscale_intake_rejected_total{code="OrgUnknown"} 1.0' in await _fetch(port)
    await shop.close()
    process.send_signal(signal.SIGTERM)
    code, text = await said(process)
    assert (code, text.rpartition("INFO ")[2]) == (0, "virtscale.alone: signal ended as it was asked to\n")


async def _fetch(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    body = await reader.read()
    writer.close()
    return body


async def test_a_worker_that_cannot_begin_says_why_in_one_sentence(site: Site, tmp_path: Path) -> None:
    key = keys.path_of(site.directory / "keys", "notifier")
    key.chmod(0o640)
    code, text = await said(await site.start("notifier"))
    assert (code, text.count("\n")) == (1, 1)
    assert f"chmod 600 {key}" in text
    key.unlink()
    keys.create(key)  # another key, which the bus does not know
    code, text = await said(await site.start("notifier"))
    assert (code, text.count("\n")) == (1, 1)
    assert "does not know the key of notifier" in text
    (site.directory / FILE).unlink()
    code, text = await said(await site.start("notifier"))
    assert code == 1
    assert "There is no house in" in text
