"""The ledger goes on in a new stream, with all that it had: whatever is killed in between is completed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from events.bus import streams
from events.bus.port import Bus
from events.ledger import LedgerRolled
from events.lock import TakenError, hold
from lab.bus import BusServer
from replay.keeping import intent, stream
from replay.keeping.intent import KeepingError
from services.sealer.__main__ import LOCK
from tests.seams.kept_ledger import fact_of, running, seal, whole, write
from tests.support import free_port
from virtscale.audit import going_on
from virtscale.audit.maintenance import Place, bus_alone


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.fresh(tmp_path / "house")


async def test_a_rolled_ledger_has_every_event_that_it_had_and_goes_on_with_the_next_sequence(
    place: Place,
) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 300)
        before = await admin.read(1, 300)
    done = await going_on.roll(place, "ann", "the store is full")
    assert (done.what, done.size) == ("rolled", 300)
    async with running(place) as (_, admin):
        store = await admin.store()
        assert (store.first_seq, store.last_seq) == (301, 301)
        await write(admin, 301, 2)
    held = await whole(place)
    assert held[:300] == before
    rolled = fact_of(held[300])
    assert isinstance(rolled, LedgerRolled)
    assert (rolled.size, rolled.root, rolled.actor) == (300, done.root, "ann")
    assert len(held) == 303


async def test_a_ledger_is_rolled_again_and_again_and_a_roll_that_has_nothing_to_do_says_so(
    place: Place,
) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 3)
    await going_on.roll(place, "ann", "one")
    with pytest.raises(KeepingError, match="rolled just now"):
        await going_on.roll(place, "ann", "too soon")
    async with running(place) as (_, admin):
        await write(admin, 4, 2)
    await going_on.roll(place, "ann", "two")
    kinds = [type(fact_of(one)).__name__ for one in await whole(place)]
    assert kinds == ["QuiesceRequested"] * 3 + ["LedgerRolled"] + ["QuiesceRequested"] * 2 + ["LedgerRolled"]


async def planned(place: Place) -> intent.Intent:
    """What a roll wrote down before it was killed; nothing of it is done."""
    written: list[intent.Intent] = []

    class Killed(BaseException):
        pass

    def kill(directory: Path, plan: intent.Intent) -> None:
        written.append(plan)
        raise Killed

    keep, intent.write = intent.write, kill
    try:
        with pytest.raises(Killed):
            await going_on.roll(place, "ann", "killed")
    finally:
        intent.write = keep
    return written[0]


async def _nothing(_admin: Bus, _plan: intent.Intent) -> None: ...


async def _deleted(admin: Bus, _plan: intent.Intent) -> None:
    await admin.ask(stream.STREAM_DELETE, b"", 5.0)


async def _made(admin: Bus, plan: intent.Intent) -> None:
    await _deleted(admin, plan)
    await streams.establish(admin, first_seq=plan.size + 1)


@pytest.mark.parametrize(
    ("at", "next_run"), [(_nothing, "up"), (_deleted, "up"), (_made, "up"), (_deleted, "roll")]
)
async def test_a_roll_that_was_killed_is_completed_by_whatever_comes_next(
    place: Place, at: Callable, next_run: str
) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 5)
    plan = await planned(place)
    async with bus_alone(place) as bus:
        admin = await bus.admin()
        await at(admin, plan)
        await admin.close()
    intent.write(place.directory, plan)
    if next_run == "roll":
        assert (await going_on.roll(place, "ann", "again")).what == "rolled"
    held = await whole(place)
    assert [type(fact_of(one)).__name__ for one in held[5:]] == ["LedgerRolled"]
    assert intent.read(place.directory) is None


async def test_a_roll_that_was_done_and_not_forgotten_is_not_done_twice(place: Place) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 5)
    plan = await planned(place)
    intent.write(place.directory, plan)
    for _ in range(2):
        intent.write(place.directory, plan)
        async with running(place):
            pass
    assert len(await whole(place)) == 6


@pytest.mark.parametrize("hurt", ["gone", "older", "altered"])
async def test_the_old_stream_is_not_deleted_while_the_archive_does_not_hold_what_it_did(
    place: Place, hurt: str
) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
        shutil.copytree(place.audit, place.directory / "older")
        await write(admin, 6, 5)
    intent.write(place.directory, await planned(place))
    # After the power cut its disk is not mounted.
    whole_archive = place.audit.rename(place.directory / "elsewhere")
    if hurt == "older":
        (place.directory / "older").rename(place.audit)
    if hurt == "altered":
        shutil.copytree(whole_archive, place.audit)
        bundle = place.audit / "tile/entries/000.p/10"
        bundle.write_bytes(bundle.read_bytes().replace(b'"k3"', b'"k9"'))
    async with bus_alone(place) as bus:
        with pytest.raises(KeepingError, match="Nothing was deleted"):
            await bus.stand()
        admin = await bus.admin()
        store = await admin.store()
        await admin.close()
        assert (store.first_seq, store.last_seq) == (1, 10)
    shutil.rmtree(place.audit, ignore_errors=True)
    whole_archive.rename(place.audit)
    assert len(await whole(place)) == 11


async def test_a_stream_that_went_on_after_the_plan_is_not_deleted(place: Place) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 5)
    plan = await planned(place)
    async with running(place) as (_, admin):
        await write(admin, 6, 1)
    intent.write(place.directory, plan)
    with pytest.raises(KeepingError, match="gone on to 6"):
        async with running(place):
            pass


async def test_a_house_that_is_up_is_not_rolled(place: Place) -> None:
    with place.down(), pytest.raises(OSError, match="is up already"):
        await going_on.roll(place, "ann", "why not")


async def test_an_archive_that_a_sealer_holds_is_not_written_by_anybody_else(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
        await write(admin, 6, 1)
    with hold(place.audit / LOCK, "The archive has a sealer"):
        for going in (going_on.roll, going_on.recover):
            with pytest.raises(TakenError, match="has a sealer already"):
                await going(place, "ann", "why not")
    assert (await going_on.roll(place, "ann", "the sealer has ended")).size == 6


async def test_a_bus_that_a_killed_command_left_behind_is_ended_before_another_one_starts(
    place: Place,
) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 5)
    left = BusServer(place.bus, free_port(), [])
    await left.start()
    try:
        assert len(await whole(place)) == 5
        assert not left.part.running
    finally:
        await left.stop()
