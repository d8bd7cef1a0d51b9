"""A ledger after a disaster: what a broken bus still holds is kept, and whatever is killed in between is completed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from events.bus import mark
from events.bus.past import Past
from events.bus.port import Outgoing
from events.ledger import LedgerRecovered
from replay.keeping import first, intent, stream
from replay.keeping.intent import KeepingError
from services.sealer import key
from services.sealer.archive import is_empty
from services.sealer.halt import LedgerAlteredError, LedgerShorterError
from tests.seams.kept_ledger import NOW, fact_of, files_of, running, seal, whole, write
from virtscale.audit import going_on
from virtscale.audit.maintenance import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.fresh(tmp_path / "house")


async def test_a_store_that_is_gone_is_not_replaced_by_an_empty_one(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
    (place.bus / "store").rename(place.bus / "elsewhere")
    with pytest.raises(KeepingError, match="recover"):
        async with running(place):
            pass
    done = await going_on.recover(place, "ann", "the disk died")
    assert (done.what, done.size, done.epoch, done.lost_last) == ("recovered", 5, 1, 0)
    held = await whole(place)
    assert isinstance(fact_of(held[5]), LedgerRecovered)


def blind(place: Place) -> None:
    """The server can no longer read what the ledger's stream is; its messages are untouched."""
    [meta] = (place.bus / "store").rglob("streams/LEDGER/meta.inf")
    meta.write_bytes(b"\0" + meta.read_bytes()[1:])


async def test_a_stream_whose_description_is_damaged_is_found_again_and_somebody_is_told(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 5)
        before = await admin.read(1, 5)
    assert capsys.readouterr().err == ""
    blind(place)
    async with running(place) as (_, admin):
        assert await admin.read(1, 5) == before
    assert "found its messages up to 5 again: its store was damaged" in capsys.readouterr().err


async def test_what_is_found_again_of_a_damaged_stream_is_taken_over_by_a_recovery(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
        await write(admin, 6, 3)
        before = await admin.read(1, 8)
    blind(place)
    with pytest.raises(KeepingError, match="holds no ledger"):
        async with running(place):
            pass
    done = await going_on.recover(place, "ann", "a damaged store")
    assert (done.size, done.lost_first, done.lost_last) == (8, 0, 0)
    assert (await whole(place))[:8] == before


async def test_what_nobody_had_sealed_yet_is_taken_over_from_a_store_that_is_intact(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
        await write(admin, 6, 3)
        before = await admin.read(1, 8)
    done = await going_on.recover(place, "ann", "to be sure")
    assert (done.size, done.lost_first, done.lost_last) == (8, 0, 0)
    assert (await whole(place))[:8] == before
    assert Path(done.kept).is_dir()


async def test_an_older_copy_that_went_on_loses_what_it_wrote_and_the_event_names_the_range(
    place: Place,
) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 3)
    older = place.directory / "older"
    (place.bus / "store").rename(older)
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        before = await admin.read(1, 5)
        await reader.close()
    (place.bus / "store").rename(place.directory / "newer")
    older.rename(place.bus / "store")
    async with running(place) as (bus, admin):
        with pytest.raises(LedgerShorterError):
            await seal(place, reader := await bus.sealer())
        await reader.close()
        await write(admin, 100, 4)
    async with running(place) as (bus, _):
        with pytest.raises(LedgerAlteredError):
            await seal(place, reader := await bus.sealer())
        await reader.close()
    mark.write(place.marks / "gate.json", mark.Mark(9, "0" * 64))
    done = await going_on.recover(place, "ann", "the disk died")
    assert (done.size, done.lost_first, done.lost_last, done.epoch) == (5, 6, 9, 1)
    assert list(place.marks.glob("*")) == []
    held = await whole(place)
    assert held[:5] == before
    recovered = fact_of(held[5])
    assert isinstance(recovered, LedgerRecovered)
    assert (recovered.lost_first, recovered.lost_last, recovered.size) == (6, 9, 5)


async def test_what_somebody_acted_on_and_the_bus_holds_otherwise_is_not_taken_over(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
        await write(admin, 6, 3)
    mark.write(place.marks / "gate.json", mark.Mark(7, "0" * 64))
    done = await going_on.recover(place, "ann", "the disk died")
    assert (done.size, done.lost_first, done.lost_last) == (5, 6, 8)


async def test_an_event_that_nobody_understands_ends_what_is_taken_over(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
        await write(admin, 6, 2)
        await admin.append(Outgoing("vs.acme.gate.org.acme.gate.decided", "f" * 32, b"{"))
        await write(admin, 9, 1)
    done = await going_on.recover(place, "ann", "a bad line")
    assert (done.size, done.lost_first, done.lost_last) == (7, 8, 9)
    assert len(await whole(place)) == 8


async def test_a_second_recovery_is_a_second_epoch(place: Place) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 3)
    assert (await going_on.recover(place, "ann", "one")).epoch == 1
    done = await going_on.recover(place, "ann", "two")
    assert (done.epoch, Path(done.kept).name) == (2, "store.lost-2")


async def test_what_no_pen_wrote_begins_no_epoch_and_stops_no_recovery(place: Place) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 3)
    assert (await going_on.recover(place, "ann", "one")).epoch == 1
    async with running(place) as (_, admin):
        await admin.append(Outgoing(first.RECOVERED, "", b'{"type":"io.nats"}'))
    assert (await going_on.recover(place, "ann", "two")).epoch == 2


@pytest.mark.parametrize("step", ["planned", "aside"])
async def test_a_recovery_that_was_killed_is_completed(place: Place, step: str) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        archive = await seal(place, reader := await bus.sealer())
        await reader.close()
    line = first.recovered(place.origin, archive.last, 1, (0, 0), first.Word("ann", "killed", NOW))
    plan = intent.Intent(
        what="recovered",
        size=5,
        root=archive.last.root.hex(),
        lines=(line,),
        aside="store.lost-1",
        forget_marks=True,
    )
    mark.write(place.marks / "gate.json", mark.Mark(9, "0" * 64))
    intent.write(place.directory, plan)
    if step == "aside":
        stream.set_aside(plan, place.bus)
    assert (await going_on.recover(place, "ann", "again")).what == "recovered"
    assert len(await whole(place)) == 6
    assert (place.bus / "store.lost-1").is_dir()
    assert list(place.marks.glob("*")) == []


async def test_a_lost_archive_is_made_anew_from_a_bus_that_holds_everything(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 300)
        root = (await seal(place, reader := await bus.sealer())).last.root.hex()
        await reader.close()
    place.audit.rename(place.directory / "lost")
    done = await going_on.recover(place, "ann", "the archive's disk died")
    assert (done.size, done.root) == (300, root)
    assert len(await whole(place)) == 301


async def lost_with_its_key(place: Place) -> str:
    """Fourteen events were sealed, the ledger says it of ten; then archive and key are gone. The root of the fourteen."""
    async with running(place) as (bus, admin):
        await write(admin, 1, 10)
        archive = await seal(place, reader := await bus.sealer())
        line = first.sealed(place.origin, archive.last, NOW)
        await admin.append(Outgoing(line.subject, line.id, line.payload.encode()))
        await admin.append(Outgoing(line.subject, "", b"what no pen wrote"))
        await write(admin, 11, 2)
        root = (await seal(place, reader)).last.root.hex()
        await reader.close()
    shutil.rmtree(place.audit)
    place.audit_key.unlink()
    return root


async def test_a_log_that_lost_archive_and_key_gets_no_new_key_unless_somebody_says_so(place: Place) -> None:
    root = await lost_with_its_key(place)
    for going in (going_on.roll, going_on.recover):
        with pytest.raises(KeepingError, match="recover --new-key"):
            await going(place, "ann", "both are gone")
        assert not place.audit_key.exists()
    done = await going_on.recover(place, "ann", "both are gone", new_key=True)
    assert (done.size, done.root, done.lost_last) == (14, root, 0)
    held = await whole(place)  # which compares with what the ledger says was sealed, by the new key
    assert [type(fact_of(one)).__name__ for one in held[14:]] == ["LedgerRecovered", "LedgerSealed"]


async def test_a_recovery_under_another_key_that_was_killed_is_done_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await lost_with_its_key(place)

    class KilledError(BaseException):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(intent, "write", kill)
        with pytest.raises(KilledError):
            await going_on.recover(place, "ann", "both are gone", new_key=True)
    assert (await going_on.recover(place, "ann", "both are gone", new_key=True)).root == root
    assert len(await whole(place)) == 16


async def test_no_new_key_signs_what_is_not_what_the_former_one_sealed(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 3)
        archive = await seal(place, reader := await bus.sealer())
        altered = replace(archive.last, root=bytes(32))
        line = first.sealed(place.origin, altered, NOW)
        await admin.append(Outgoing(line.subject, line.id, line.payload.encode()))
        await reader.close()
    shutil.rmtree(place.audit)
    place.audit_key.unlink()
    with pytest.raises(KeepingError, match="are not what was sealed"):
        await going_on.recover(place, "ann", "both are gone", new_key=True)
    assert not place.audit_key.exists()


async def test_a_damaged_archive_is_no_ground_to_go_on_from(place: Place) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 5)
        await seal(place, reader := await bus.sealer())
        await reader.close()
    path = place.audit / "tile/entries/000.p/5"
    path.write_bytes(path.read_bytes().replace(b'"k3"', b'"k9"'))
    with pytest.raises(KeepingError, match="not as it was sealed"):
        await going_on.recover(place, "ann", "why not")
    assert (place.bus / "store").is_dir()


async def test_a_key_is_made_for_a_log_that_was_never_sealed_and_never_again(place: Place) -> None:
    async with running(place) as (_, admin):
        await write(admin, 1, 2)
    await going_on.roll(place, "ann", "early")
    assert not is_empty(files_of(place))
    assert place.audit_key.stat().st_mode & 0o777 == 0o600
    place.audit_key.unlink()
    with pytest.raises(Exception, match="is missing"):
        key.opened(place.audit_key, place.origin, first=is_empty(files_of(place)))
    assert (await Past(place.audit).read(1, 2))[0].seq == 1
