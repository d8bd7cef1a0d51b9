"""A whole house through age and disaster: what was known before is known after, and it goes on."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from events.bus.alone import leaves
from events.bus.ledger import Ledger
from events.bus.port import BusError
from events.gate import Answer
from events.tlog.files import DirectoryFiles
from events.tlog.reader import Archive
from replay.audit.against_bus import against_bus
from replay.audit.verify import verifier_of, verify
from replay.keeping import intent
from replay.source import BusSource
from replay.views.digest import Digest
from replay.views.rebuild import rebuild
from schemas.house import FILE, load
from schemas.intake import Receipt, Scale
from tests.seams.client import ORG, POOL, Client
from tests.seams.house import a_client
from tests.support import eventually
from virtscale import crew
from virtscale.ask import new_key
from virtscale.audit import going_on, saving
from virtscale.audit.maintenance import BusAlone, Place
from virtscale.world import Ports, World

TOO_MANY = 65
"""VMs past what one request moves: refused, nothing is started, and nobody gets a mail."""


@asynccontextmanager
async def up(
    directory: Path, workers: Collection[str] = crew.WORKERS
) -> AsyncGenerator[tuple[World, Client]]:
    """The house is up with these workers, and its contract is in force; in order down when the block ends."""
    async with World(directory, Ports.free(), "test", lambda _: None) as world:
        live: asyncio.Future[Ledger] = asyncio.get_running_loop().create_future()
        team = asyncio.create_task(crew.run(world.house, live.set_result, workers, views=False))
        try:
            await asyncio.wait([team, live], return_when=asyncio.FIRST_COMPLETED, timeout=20)
            if team.done():
                team.result()
            async with a_client(world) as client:
                await world.enact(client.contracts)
                yield world, client
                if team.done():
                    team.result()
        finally:
            team.cancel()
            with suppress(asyncio.CancelledError):
                await team


async def asked(client: Client, add: int) -> Answer:
    """The gate's answer to a request for so many more VMs."""
    receipt: Receipt = await client.ask("scale", Scale(pool=POOL, key=new_key(), add=add))

    def answer() -> Answer | None:
        known = client.trips.requests.get(receipt.id)
        return known.answer if known is not None else None

    await client.until(lambda: answer() is not None, 10, "nobody answers")
    found = answer()
    assert found is not None
    return found


async def sealed(world: World, client: Client) -> Archive:
    """The archive, once it covers all that the client has read."""
    archive = Archive(DirectoryFiles(Path(world.house.audit)))
    seq = client.ledger.seq

    def covers() -> bool:
        archive.checkpoint_note()
        return archive.size >= seq

    await eventually(covers, 10, every_seconds=0.05, why=f"nobody seals {seq}")
    return archive


async def views_at(world: World, seq: int, path: Path) -> Digest:
    bus = await world.connect("reader")
    try:
        return await rebuild(BusSource(bus), path, until=seq)
    finally:
        await bus.close()


async def all_is_well(world: World) -> None:
    """Archive and bus are what was sealed, and complete."""
    files = DirectoryFiles(Path(world.house.audit))
    bus = await world.connect("operator")
    try:
        verdicts = verify(files, verifier_of(files)).verdicts + await against_bus(bus, Archive(files))
    finally:
        await bus.close()
    assert [one.says for one in verdicts if not one.ok] == []


class KilledError(BaseException):
    """The command ends here."""


async def test_a_house_that_was_rolled_has_the_same_views_and_its_fences_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roll is killed right after it is written down, so that it is `up` that completes it."""
    house = tmp_path / "house"
    async with up(house) as (world, client):
        for _ in range(5):
            assert (await asked(client, TOO_MANY)).code == "BatchTooLarge"
        seq = client.ledger.seq
        before = await views_at(world, seq, tmp_path / "before.db")
        contract = client.contracts.in_force(ORG)
    with monkeypatch.context() as patched:
        patched.setattr(BusAlone, "stand", _die)
        with pytest.raises(KilledError):
            await going_on.roll(Place.of(load(house)), "ann", "the store is nearly full")
    done = intent.read(house)
    assert done is not None
    assert done.size >= seq
    async with up(house) as (world, client):
        bus = await world.connect("operator")
        store = await bus.store()
        await bus.close()
        assert store.first_seq == done.size + 1
        assert await views_at(world, seq, tmp_path / "after.db") == before
        assert client.contracts.in_force(ORG) == contract
        assert (await asked(client, TOO_MANY)).code == "BatchTooLarge"
        assert (await asked(client, 1)).outcome == "admitted"
        await sealed(world, client)
        await all_is_well(world)


async def test_where_the_log_is_and_whose_stays_as_it_was_chosen_when_the_house_comes_up(
    tmp_path: Path,
) -> None:
    house, audit = tmp_path / "house", str(tmp_path / "disk" / "audit")
    house.mkdir()
    (house / FILE).write_text(f'{{"origin": "ledger.example/east", "audit": "{audit}"}}')
    for _ in range(2):
        async with World(house, Ports.free(), "test", lambda _: None) as world:
            assert (world.house.origin, world.house.audit) == ("ledger.example/east", audit)
        assert load(house).audit == audit


async def _die(_: BusAlone) -> None:
    raise KilledError


async def test_a_backup_that_was_taken_while_the_house_was_up_becomes_a_house_that_goes_on(
    tmp_path: Path,
) -> None:
    house, target, other = tmp_path / "house", tmp_path / "backup", tmp_path / "other"
    async with up(house) as (world, client):

        async def busy() -> None:
            for _ in range(20):
                await asked(client, TOO_MANY)

        await sealed(world, client)
        writing = asyncio.create_task(busy())
        first = await asyncio.to_thread(saving.backup, world.house, target)
        await writing
        await sealed(world, client)
        second = await asyncio.to_thread(saving.backup, world.house, target)
        assert first.size < second.size
        held = await client.bus.read(1, second.size)
        assert (await asked(client, TOO_MANY)).code == "BatchTooLarge"
    done = await saving.restore(other, target, "ann", "the machine burnt")
    assert (done.size, done.root, done.epoch) == (second.size, second.root, 1)
    async with up(other) as (world, client):
        assert await client.bus.read(1, second.size) == held
        await reconciled(client)
        assert (await asked(client, 1)).outcome == "admitted"
        archive = await sealed(world, client)
        assert archive.size > second.size
        await all_is_well(world)


async def reconciled(client: Client) -> None:
    """The waker has compared its host with the recovered ledger."""
    await client.until(
        lambda: any(one.type == "host.reconciled.v1" for one in client.history.events[-50:]),
        10,
        "no host is reconciled",
    )


async def test_a_house_whose_store_came_back_older_writes_nothing_until_it_is_recovered(
    tmp_path: Path,
) -> None:
    house = tmp_path / "house"
    store, older = house / "bus" / "store", tmp_path / "older"
    async with up(house) as (_, client):
        await asked(client, TOO_MANY)
    shutil.copytree(store, older)
    async with up(house) as (world, client):
        assert (await asked(client, TOO_MANY)).code == "BatchTooLarge"
        archive = await sealed(world, client)
        held = await client.bus.read(1, archive.size)
    shutil.rmtree(store)
    shutil.copytree(older, store)
    with pytest.raises((BusError, ExceptionGroup)) as refused:
        async with up(house):
            pass
    said = leaves(refused.value) if isinstance(refused.value, BaseExceptionGroup) else [refused.value]
    assert {getattr(one, "code", "") for one in said} <= {"LedgerDiffers", "LedgerShorter"}, said
    done = await going_on.recover(Place.of(load(house)), "ann", "the disk died")
    assert (done.what, done.epoch) == ("recovered", 1)
    assert done.size >= len(held)
    async with up(house, [name for name in crew.WORKERS if name != "waker"]) as (_, client):
        assert await client.bus.read(1, len(held)) == held
        answer = await asked(client, 1)
        assert (answer.outcome, answer.code) == ("refused", "Reconciling")
    async with up(house) as (world, client):
        await reconciled(client)
        assert (await asked(client, 1)).outcome == "admitted"
        await sealed(world, client)
        await all_is_well(world)
