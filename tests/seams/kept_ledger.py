"""A ledger on a bus that runs alone, written to, sealed, and read back whole: what tests of its keeping share."""

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from events.bus.port import Bus, Outgoing, Stored
from events.envelope import address, read
from events.fact import Fact
from events.ids import derive
from events.quiesce import QuiesceRequested
from events.tlog.files import DirectoryFiles
from events.tlog.reader import Archive
from replay.audit.against_bus import against_bus
from replay.audit.verify import verifier_of, verify
from replay.keeping import sealing
from schemas.house import House
from services.sealer.archive import SealedArchive
from virtscale.audit.maintenance import BusAlone, Place, bus_alone

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


@asynccontextmanager
async def running(place: Place) -> AsyncGenerator[tuple[BusAlone, Bus]]:
    """The bus alone with its stream, and somebody who may write everything."""
    place.directory.mkdir(parents=True, exist_ok=True)
    async with bus_alone(place) as bus:
        await bus.stand()
        admin = await bus.admin()
        try:
            yield bus, admin
        finally:
            await admin.close()


async def write(bus: Bus, first: int, count: int) -> None:
    """So many events, the first with that number in it."""
    for number in range(first, first + count):
        fact: Fact = QuiesceRequested(
            org="acme",
            pool="web",
            publisher="shop",
            key=f"k{number}",
            origin="person",
            count=1,
            received_at=NOW,
            sample=None,
        )
        own = derive("kept", number)
        event = address(fact, writer="signal", id=own, time=NOW, cause=None, correlation=own)
        await bus.append(Outgoing(event.subject, event.id, event.payload))


def files_of(place: Place) -> DirectoryFiles:
    return DirectoryFiles(place.audit)


async def seal(place: Place, bus: Bus) -> SealedArchive:
    signer = sealing.signer_of(place.audit_key, place.origin, files_of(place))
    return await sealing.seal_to_the_end(bus, files_of(place), signer)


async def whole(place: Place) -> list[Stored]:
    """The ledger as a reader has it, from the first event to the last; integrity and completeness hold."""
    async with running(place) as (bus, _):
        reader = await bus.sealer()
        try:
            await seal(place, reader)
            files = files_of(place)
            verdicts = verify(files, verifier_of(files)).verdicts + await against_bus(reader, Archive(files))
            assert [one.says for one in verdicts if not one.ok] == []
            last = await reader.last()
            held = await reader.read(1, last)
            assert [one.seq for one in held] == list(range(1, last + 1))
            return held
        finally:
            await reader.close()


def fact_of(stored: Stored) -> Fact:
    return read(stored.seq, stored.stored_ns, stored.payload, stored.subject).fact


def house_of(place: Place) -> House:
    """What `house.json` would say, as far as a backup looks."""
    here = place.directory
    return House(
        directory=str(here),
        bus_url="",
        keys=str(place.keys),
        signing_keys=str(here / "signing"),
        contracts=str(here / "contracts"),
        pools=str(here / "pools"),
        templates="",
        vault=str(here / "vault"),
        hosts=(),
        balancer_socket="",
        balancer_config="",
        balancer_base="",
        smtp_host="",
        smtp_port=0,
        prometheus_url="",
        metrics_port=0,
        audit=str(place.audit),
        audit_key=str(place.audit_key),
        origin=place.origin,
        marks=str(place.marks),
    )
