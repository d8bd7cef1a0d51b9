"""An announced reboot from the request to its end: a real bus, real mail, and every worker but the one that would need a guest."""

import asyncio
import datetime as dt
import email
import email.policy
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from events.bus import permissions
from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import UnansweredError
from events.envelope import Recorded
from events.fact import Fact
from events.gate import GateDecided, RebootOrdered
from events.host import HostRegistered
from events.ids import derive
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from events.vm import VmBooted, VmReady
from lab.mail import Mail, MailSink
from lab.ports import LOOPBACK
from projections.fleet.fold import Fleet
from schemas.capacity import Capacity, Size
from schemas.contract.terms import Person
from schemas.intake import VERBS
from schemas.pool import Pool
from schemas.vm_intake import ChangeMaintenance, ChangeVm, CreateVm, DeleteVm, UndeleteVm
from services.gate.worker import Gate
from services.notifier.smtp import Smtp
from services.notifier.worker import Notifier
from services.signal.prometheus import Prometheus
from services.signal.worker import Signal
from services.steward.worker import Steward
from tests import papers
from tests.rules.notifier_relay import People
from tests.seams.bus_worlds import NatsWorld, World, a_world
from tests.support import eventually, free_port

ORG = "acme"
POOL = Pool(ORG, "apps", Size("own-1x1024", 1, 1024), "tiny", kind="kept", profile="lab")
OPS = Person("acme-ops", "0" * 64)

Asked = type[CreateVm] | type[ChangeVm] | type[ChangeMaintenance] | type[DeleteVm] | type[UndeleteVm]
F = TypeVar("F", bound=Fact)
_VERBS = {request: verb for verb, request in VERBS.items()}


class Ahead:
    """The time of day, and what a test adds to it."""

    def __init__(self) -> None:
        self.by = dt.timedelta()

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.by

    def set(self, then: dt.datetime) -> None:
        """It is then, or a moment later."""
        self.by = then - dt.datetime.now(dt.UTC)


class Heard:
    """A fold that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []

    def apply(self, recorded: Recorded) -> None:
        self.events.append(recorded)

    def all(self, kind: type[F]) -> list[F]:
        return [one.fact for one in self.events if isinstance(one.fact, kind)]


class Site:
    """The workers of a house without a host, whose part the test plays."""

    WORKERS = ("signal", "gate", "steward", "steward", "notifier")
    CONTRACT_DAYS = 30

    def __init__(self, world: World, sink: MailSink) -> None:
        self.world = world
        self.sink = sink
        self.clock = Ahead()
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}
        self.heard = Heard()
        self.fleet = Fleet()
        self._keys = 0

    @property
    def url(self) -> str:
        """Where the bus is."""
        assert isinstance(self.world, NatsWorld)
        return self.world.server.url

    async def begin(self) -> None:
        ledger = Ledger(await self.world.connect(permissions.reader("view")))
        self.heard, self.fleet = ledger.fold(Heard), ledger.fold(Fleet)
        self.tasks["view"] = [asyncio.create_task(ledger.follow())]
        self.operator = await self.world.connect(permissions.operator())
        self.waker = Pen(await self.world.connect(permissions.worker("waker", "h1")), "waker-h1", self.clock)
        self._prober = Pen(await self.world.connect(permissions.worker("prober")), "prober", self.clock)
        gate = Pen(await self.world.connect(permissions.worker("gate")), "gate", self.clock)
        now = self.clock.now()
        contract = papers.terms(
            ORG,
            quota=Capacity(vcpu=8, memory_mib=1 << 20, block_bytes=1 << 40),
            technical=(OPS,),
            valid_from=now - dt.timedelta(days=1),
            valid_until=now + dt.timedelta(days=self.CONTRACT_DAYS),
        )
        await self.tell(gate, papers.took_effect(contract, now))
        await self.tell(
            self.waker,
            HostRegistered(
                org="platform",
                host="h1",
                uri="test:///default",
                libvirt_version=9_000_000,
                substrate="test",
                vcpu=16,
                memory_mib=1 << 16,
                observed_at=now,
            ),
        )
        for name in self.WORKERS:
            await self.start(name)

    async def start(self, name: str) -> None:
        """The worker is at work; said twice, there are two."""
        bus = await self.world.connect(permissions.worker(name))  # pyright: ignore[reportArgumentType]
        ledger = Ledger(bus)
        match name:
            case "signal":
                work = Signal(ledger, bus, self.clock, Prometheus("http://127.0.0.1:9")).work()
            case "gate":
                work = Gate(ledger, bus, self.clock, "g1").work([POOL])
            case "steward":
                work = Steward(ledger, bus, self.clock).work()
            case _:
                people = People({"acme-ops": "ops@acme.test"})
                work = Notifier(ledger, bus, self.clock, Smtp(LOOPBACK, self.sink.port), people).work()
        tasks = [asyncio.create_task(work), asyncio.create_task(ledger.follow())]
        self.tasks.setdefault(name, []).extend(tasks)

    async def kill(self, name: str) -> None:
        """All of this name are gone."""
        for task in self.tasks.pop(name):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def end(self) -> None:
        for name in list(self.tasks):
            await self.kill(name)

    async def asks(self, kind: Asked, **said: Any) -> str:
        """The operator asked for it; the request's id."""
        self._keys += 1
        request = kind(key=f"k{self._keys}", actor="kim", **said)
        subject = f"in.{ORG}.operator.{_VERBS[kind]}"

        async def taken() -> str | None:
            try:
                answer = await self.operator.ask(subject, msgspec.json.encode(request), 2.0)
            except UnansweredError:  # whoever serves the intake has not begun to
                return None
            told = msgspec.json.decode(answer)
            assert "seq" in told, told
            return str(told["id"])

        return str(await eventually(taken))

    async def comes(self, kind: type[F], count: int = 1) -> F:
        """The last of so many events of a kind."""
        await eventually(lambda: len(self.heard.all(kind)) >= count, why=f"{kind.__name__} x {count}")
        found = self.heard.all(kind)
        assert len(found) == count, found
        return found[-1]

    async def runs(self) -> None:
        """The VM was started under its newest reservation, and answered."""
        await eventually(
            lambda: (ORG, "db") in self.fleet.vms and self.fleet.vms[ORG, "db"].state == "booting"
        )
        who: dict[str, Any] = {"org": ORG, "vm": "db", "reservation": self.fleet.vms[ORG, "db"].reservation}
        now = self.clock.now()
        await self.tell(self.waker, VmBooted(**who, host="h1", started_at=now, booted_at=now, attempts=1))
        await self.tell(
            self._prober,
            VmReady(
                **who,
                boot_id="b",
                rebooted=False,
                clock_offset_ms=0,
                probe_started_at=now,
                answered_at=now,
                probes=1,
            ),
        )

    async def tell(self, pen: Pen, fact: Fact) -> None:
        """A worker whose part the test plays has said it."""
        id_ = derive("told", type(fact).__name__, self.clock.now().isoformat())
        await pen.record(fact, id=id_, cause=None, correlation=id_)


@asynccontextmanager
async def a_site(directory: Path) -> AsyncGenerator[tuple[Site, MailSink]]:
    sink = MailSink(directory / "mails", free_port())
    await sink.start()
    try:
        async with a_world("nats", directory) as world:
            site = Site(world, sink)
            try:
                await site.begin()
                yield site, sink
            finally:
                await site.end()
    finally:
        await sink.stop()


def invitation(mail: Mail) -> tuple[str, str]:
    """The method of the calendar object that came with a mail, and its text."""
    whole = email.message_from_bytes(mail.file.read_bytes(), policy=email.policy.default)
    assert isinstance(whole, EmailMessage)
    (part,) = [one for one in whole.walk() if one.get_content_type() == "text/calendar"]
    return str(part.get_param("method")), part.get_content().replace("\r\n ", "")


async def test_an_announced_reboot_is_mailed_moved_mailed_again_and_carried_out_once_by_two_stewards(
    tmp_path: Path,
) -> None:
    async with a_site(tmp_path) as (site, sink):
        await eventually(lambda: (ORG, "apps") in site.fleet.pools)
        await site.asks(CreateVm, pool="apps", vm="db")
        await site.runs()
        await site.asks(ChangeVm, vm="db", change="reboot", reason="a new kernel", when="window")
        entry = (await site.comes(MaintenanceScheduled)).entry
        assert entry.slot.start - site.clock.now() > dt.timedelta(hours=11)
        (mail,) = await sink.wait_for(1, 10.0)
        method, text = invitation(mail)
        assert (mail.recipients, method) == (("ops@acme.test",), "REQUEST")
        assert mail.subject.startswith("Announced: maintenance of acme/db, ")
        assert "SEQUENCE:0" in text
        assert f"DTSTART:{entry.slot.start:%Y%m%dT%H%M%SZ}" in text

        await site.asks(
            ChangeMaintenance,
            vm="db",
            maintenance=entry.id,
            change="postpone",
            until=entry.slot.start + dt.timedelta(days=2),
            reason="the fair is on",
        )
        moved = (await site.comes(MaintenanceRescheduled)).entry
        assert moved.slot.start >= entry.slot.start + dt.timedelta(days=2)
        _, mail = await sink.wait_for(2, 10.0)
        method, again = invitation(mail)
        assert (method, "SEQUENCE:1" in again) == ("REQUEST", True)
        assert [line for line in text.splitlines() if line.startswith("UID:")] == [
            line for line in again.splitlines() if line.startswith("UID:")
        ]

        await site.kill("steward")
        site.clock.set(moved.slot.start)
        await site.start("steward")
        await site.start("steward")
        begun = await site.comes(MaintenanceBegun)
        assert begun.entry.id == entry.id
        await eventually(lambda: site.fleet.vms[ORG, "db"].state == "booting")
        await site.kill("steward")
        await site.runs()
        await site.start("steward")
        ended = await site.comes(MaintenanceEnded)
        assert (ended.entry.result, ended.code) == ("done", "Done")
        reboots = [
            order
            for decided in site.heard.all(GateDecided)
            for order in decided.orders
            if isinstance(order, RebootOrdered)
        ]
        assert len(reboots) == 1
        assert len(site.heard.all(MaintenanceBegun)) == 1

        await site.asks(
            kind=ChangeMaintenance, vm="db", maintenance=entry.id, change="cancel", reason="too late"
        )
        declined = await site.comes(MaintenanceDeclined)
        assert declined.code == "MaintenanceOver"
        assert len(sink.mails) == 2
