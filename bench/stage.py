"""Where a bench of the gate plays: a real bus that syncs always, orgs in its ledger, and the workers as processes."""

import asyncio
import datetime as dt
import os
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench import orgs
from events import keys
from events.bus import permissions, streams
from events.bus.entrance import connect_as
from events.bus.nats import NatsBus
from events.bus.pen import Pen
from events.bus.permissions import Permit
from events.clock import SystemClock
from events.envelope import Addressed, fence
from events.gate import GateDecided
from events.ids import derive
from lab.bus import BusServer, BusUser
from lab.ports import free_ports
from schemas.house import FILE, HostPlace, House
from services.gate.decide import RULES

Cast = Literal["together", "apart"]
"""The intake and the gate in one process, as `make up` runs them, or each in its own."""

ROOT: Final = Path(__file__).resolve().parents[1]
REQUESTERS: Final = 64
STOP_SECONDS: Final = 10.0
FOUNDED_TOGETHER: Final = 200
"""Orgs whose founding is one batch: four events each, of at most a thousand."""


class Stage:
    """The bus and the house of one run; workers come and go on it."""

    def __init__(self, directory: Path, server: BusServer, house: House) -> None:
        self.directory = directory
        self.server = server
        self.house = house

    @property
    def bus_pid(self) -> int:
        """The server's process."""
        pid = self.server.part.pid
        assert pid is not None
        return pid

    async def connect(self, name: str) -> NatsBus:
        """A connection as one of the bus's users."""
        return await connect_as(self.house, name, _say)

    async def found(self, names: Iterable[str]) -> None:
        """Every org has its contract and its pools in force."""
        bus, clock = await self.connect("gate"), SystemClock()
        try:
            pen, now, batch = Pen(bus, "gate", clock), clock.now(), list[tuple[Addressed, int | None]]()
            for number, org in enumerate(names, start=1):
                batch.extend(_founding(pen, org, now))
                if number % FOUNDED_TOGETHER == 0:
                    await pen.append_batch(batch)
                    batch = []
            if batch:
                await pen.append_batch(batch)
        finally:
            await bus.close()

    async def lend(self) -> None:
        """There is one host, and it has room for everything."""
        writer = f"waker-{orgs.HOST}"
        bus, clock = await self.connect(writer), SystemClock()
        try:
            name = derive("bench", orgs.HOST)
            await Pen(bus, writer, clock).record(
                orgs.host(clock.now()), id=name, cause=None, correlation=name
            )
        finally:
            await bus.close()

    @asynccontextmanager
    async def workers(self, cast: Cast) -> AsyncGenerator[list[int]]:
        """The intake and the gate run; the ids of their processes."""
        programs = (
            [["-m", "bench.pair"]]
            if cast == "together"
            else [["-m", f"services.{name}", "--log", "warning"] for name in ("signal", "gate")]
        )
        processes: list[asyncio.subprocess.Process] = []
        try:
            for program in programs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, *program, "--house", str(self.directory)),
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                )
                processes.append(process)
            yield [process.pid for process in processes]
        finally:
            await asyncio.gather(*(_end(process) for process in processes))


@asynccontextmanager
async def a_stage(directory: Path, publishers: Iterable[str]) -> AsyncGenerator[Stage]:
    """A stage on a free port, whose users are the workers, a reader, the operator and these publishers of `org-0`."""
    outsiders = [permissions.publisher("org-0", name) for name in publishers]
    permits = (
        *permissions.workers([orgs.HOST]),
        permissions.reader("reader"),
        permissions.reader("watch"),
        permissions.operator(),
        permissions.admin(),
        *outsiders,
    )
    places = {
        name: directory / name
        for name in ("keys", "contracts", "pools", "vault", "templates", "signing-keys")
    }
    for place in places.values():
        place.mkdir(parents=True)
    port, nowhere = free_ports(2)
    server = BusServer(directory / "bus", port, [_user(places["keys"], permit) for permit in permits])
    house = House(
        directory=str(directory),
        bus_url=server.url,
        keys=str(places["keys"]),
        contracts=str(places["contracts"]),
        pools=str(places["pools"]),
        templates=str(places["templates"]),
        vault=str(places["vault"]),
        signing_keys=str(places["signing-keys"]),
        hosts=(
            HostPlace(name=orgs.HOST, uri="test:///default", substrate="test", memory_mib=1, first_port=1),
        ),
        balancer_socket="",
        balancer_config="",
        balancer_base="",
        smtp_host="127.0.0.1",
        smtp_port=nowhere,
        prometheus_url=f"http://127.0.0.1:{nowhere}",
        metrics_port=nowhere,
        audit="",
        audit_key="",
        origin="ledger.test/house",
        marks=str(directory / "marks"),
    )
    (directory / FILE).write_bytes(msgspec.json.encode(house))
    await server.start()
    try:
        stage = Stage(directory, server, house)
        admin = await stage.connect("admin")
        try:
            await streams.establish(admin, ledger_bytes=3 * 1024**3)
        finally:
            await admin.close()
        yield stage
    finally:
        await server.stop()


def _founding(pen: Pen, org: str, now: dt.datetime) -> list[tuple[Addressed, int | None]]:
    name = derive("bench", org)
    facts = orgs.founding(org, now)
    decided = GateDecided(
        org=org,
        gate="bench",
        through=0,
        follows=0,
        state_seq=0,
        now=now,
        contract=None,
        rules=RULES,
        answers=(),
        orders=(),
    )
    event = pen.event(decided, id=derive(name, "decided"), cause=None, correlation=name)
    assert event.subject == fence(org)
    return [
        *(
            (pen.event(fact, id=derive(name, place), cause=None, correlation=name), None)
            for place, fact in enumerate(facts)
        ),
        (event, 0),
    ]


def _user(directory: Path, permit: Permit) -> BusUser:
    key = keys.create(keys.path_of(str(directory), permit.name))
    return BusUser(permit.name, key, permit.publish, permit.subscribe, permit.allow_responses)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        _say(f"a worker ended by itself with {process.returncode}")
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
