"""The ledger in another place and back: a backup, a restore, an import; cut short, damaged, repeated."""

import tarfile
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from events.bus.port import Bus, Outgoing
from events.envelope import address
from events.fact import Fact
from events.ids import derive
from events.ledger import LedgerRecovered, LedgerSealed
from events.person import PersonErased
from events.tlog.files import DirectoryFiles
from events.tlog.note import Verifier
from events.tlog.tiles import TileError
from events.vault import MAIL, Vault
from replay.audit.export import export
from replay.audit.tarred import files_at
from replay.audit.verify import verifier_of, verify
from replay.keeping import intent
from replay.keeping.intent import KeepingError
from schemas.house import load
from services.sealer.halt import SealKeyError
from tests.seams.kept_ledger import NOW, fact_of, files_of, house_of, running, seal, whole, write
from virtscale.audit import going_on, saving
from virtscale.audit.maintenance import Place
from virtscale.invocation import UsageError
from virtscale.world import Ports, World

SAID = ("ann", "another machine")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.fresh(tmp_path / "house")


async def filled(place: Place, first: int, count: int) -> str:
    """So many more events, sealed; the root."""
    async with running(place) as (bus, admin):
        await write(admin, first, count)
        archive = await seal(place, reader := await bus.sealer())
        await reader.close()
    return archive.last.root.hex()


async def put(bus: Bus, fact: Fact, writer: str) -> None:
    own = derive("put", str(fact))
    event = address(fact, writer=writer, id=own, time=NOW, cause=None, correlation=own)
    await bus.append(Outgoing(event.subject, event.id, event.payload))


def people(place: Place) -> Vault:
    return Vault(place.directory / "vault")


async def test_a_backup_is_for_its_owner_alone_and_a_second_one_writes_what_is_new(
    place: Place, tmp_path: Path
) -> None:
    await filled(place, 1, 300)
    people(place).put("bob", {MAIL: "bob@acme.example"})
    target = tmp_path / "backup"
    first = saving.backup(house_of(place), target)
    private = [path for path in (target / "house").rglob("*") if path.is_file()]
    assert first.private_files == len(private) > 3
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert {
        path.stat().st_mode & 0o077 for path in target.rglob("*") if path.is_dir() and path in private
    } == set()
    assert target.stat().st_mode & 0o777 == 0o700
    assert saving.backup(house_of(place), target).written == 0
    root = await filled(place, 301, 10)
    second = saving.backup(house_of(place), target)
    assert (second.size, second.root) == (310, root)
    assert 0 < second.written < first.written
    files = DirectoryFiles(target / "ledger")
    assert verify(files, verifier_of(files)).ok


async def test_a_backup_is_not_put_into_the_house_that_it_is_of(place: Place) -> None:
    await filled(place, 1, 3)
    before = sorted(place.directory.rglob("*"))
    for target in (place.directory / "backup", place.directory, place.directory / "bus" / ".."):
        with pytest.raises(KeepingError, match="lost with it"):
            saving.backup(house_of(place), target)
    assert sorted(place.directory.rglob("*")) == before


async def test_who_is_erased_in_the_house_is_erased_in_its_next_backup(place: Place, tmp_path: Path) -> None:
    await filled(place, 1, 3)
    people(place).put("bob", {MAIL: "bob@acme.example"})
    target = tmp_path / "backup"
    saving.backup(house_of(place), target)
    people(place).erase("bob")
    saving.backup(house_of(place), target)
    assert Vault(target / "house" / "vault").presence("bob") == "erased"
    assert not (target / "house" / "vault" / "keys" / "bob.key").exists()


async def test_a_restored_house_has_every_event_key_and_person_and_begins_a_new_epoch(
    place: Place, tmp_path: Path
) -> None:
    root = await filled(place, 1, 300)
    before = await whole(place)
    people(place).put("bob", {MAIL: "bob@acme.example"})
    saving.backup(house_of(place), tmp_path / "backup")
    other = Place.fresh(tmp_path / "other")
    done = await saving.restore(other.directory, tmp_path / "backup", *SAID)
    assert (done.what, done.size, done.root, done.epoch) == ("restored", 300, root, 1)
    held = await whole(other)
    assert held[:300] == before
    recovered = fact_of(held[300])
    assert isinstance(recovered, LedgerRecovered)
    assert (recovered.reason, recovered.actor) == ("another machine", "ann")
    assert other.audit_key.read_bytes() == place.audit_key.read_bytes()
    assert other.audit_key.stat().st_mode & 0o777 == 0o600
    assert people(other).contact("bob") == "bob@acme.example"
    assert (other.directory / "vault").stat().st_mode & 0o777 == 0o700
    with pytest.raises(KeepingError, match="is not empty"):
        await saving.restore(other.directory, tmp_path / "backup", *SAID)


async def test_a_log_of_another_name_beside_its_house_is_backed_up_restored_and_imported(
    place: Place, tmp_path: Path
) -> None:
    own = replace(
        place,
        origin="ledger.example/east",
        audit=tmp_path / "disk" / "audit",
        audit_key=tmp_path / "disk" / "east.key",
    )
    root = await filled(own, 1, 10)
    witnesses = ("https://witness.example/add-checkpoint",)
    saving.backup(msgspec.structs.replace(house_of(own), witnesses=witnesses), tmp_path / "backup")
    assert [path.name for path in (tmp_path / "backup/house/audit-key").iterdir()] == ["log.ed25519"]
    back = tmp_path / "back"
    assert (await saving.restore(back, tmp_path / "backup", *SAID)).root == root
    house = load(back)
    assert (house.origin, house.witnesses, house.audit) == (own.origin, witnesses, str(back / "audit"))
    assert len(await whole(Place.of(house))) == 11
    files = files_of(own)
    await saving.bring_in(tmp_path / "far", files, verifier_of(files), None, SAID)
    assert load(tmp_path / "far").origin == own.origin


async def test_somebody_whose_erasure_the_ledger_holds_is_not_brought_back_by_an_older_vault(
    place: Place, tmp_path: Path
) -> None:
    people(place).put("bob", {MAIL: "bob@acme.example"})
    people(place).put("eve", {MAIL: "eve@acme.example"})
    async with running(place) as (bus, admin):
        await put(admin, PersonErased(org="acme", person="bob", existed=True, erased_at=NOW), "notifier")
        await seal(place, reader := await bus.sealer())
        await reader.close()
    saving.backup(house_of(place), tmp_path / "backup")
    other = Place.fresh(tmp_path / "other")
    await saving.restore(other.directory, tmp_path / "backup", *SAID)
    assert people(other).presence("bob") == "erased"
    assert people(other).presence("eve") == "known"


async def test_what_no_pen_wrote_erases_nobody_and_stops_no_restore(place: Place, tmp_path: Path) -> None:
    people(place).put("bob", {MAIL: "bob@acme.example"})
    async with running(place) as (bus, admin):
        for person in ("bob", "No_Name"):
            await admin.append(
                Outgoing(f"vs.acme.notifier.person.{person}.person.erased", "", b'{"type":"io.nats"}')
            )
        await seal(place, reader := await bus.sealer())
        await reader.close()
    saving.backup(house_of(place), tmp_path / "backup")
    other = Place.fresh(tmp_path / "other")
    assert (await saving.restore(other.directory, tmp_path / "backup", *SAID)).size == 2
    assert people(other).contact("bob") == "bob@acme.example"


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", ["_erase_again", "bus_alone"])
async def test_a_restore_that_was_killed_is_completed_by_the_next_run(
    place: Place, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(place, 1, 5)
    saving.backup(house_of(place), tmp_path / "backup")
    other = Place.fresh(tmp_path / "other")

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(f"virtscale.audit.saving.{at}", kill)
        with pytest.raises(KilledError):
            await saving.restore(other.directory, tmp_path / "backup", *SAID)
    assert (await saving.restore(other.directory, tmp_path / "backup", *SAID)).what == "restored"
    assert len(await whole(other)) == 6
    assert intent.read(other.directory) is None
    assert not (other.directory / intent.BEGUN).exists()


async def test_a_house_into_which_a_ledger_is_half_put_back_begins_no_other_history(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(place, 1, 5)
    saving.backup(house_of(place), tmp_path / "backup")
    other = Place.fresh(tmp_path / "other")

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("replay.keeping.copies.put_back", kill)
        with pytest.raises(KilledError):
            await saving.restore(other.directory, tmp_path / "backup", *SAID)
    assert other.audit_key.exists()  # a stream that began at 1 would be sealed with it
    with pytest.raises(KeepingError, match="cut short"):
        async with running(other):
            pass
    with pytest.raises(KeepingError, match="cut short"):
        async with World(other.directory, Ports.free(), "test", lambda _: None):
            pass
    for going in (going_on.roll, going_on.recover):
        with pytest.raises(KeepingError, match="cut short"):
            await going(other, *SAID)
    assert (await saving.restore(other.directory, tmp_path / "backup", *SAID)).what == "restored"
    assert len(await whole(other)) == 6


async def test_a_backup_that_was_cut_short_or_altered_is_not_restored(place: Place, tmp_path: Path) -> None:
    await filled(place, 1, 5)
    target = tmp_path / "backup"
    saving.backup(house_of(place), target)
    bundle = target / "ledger" / "tile/entries/000.p/5"
    whole_bundle = bundle.read_bytes()
    bundle.write_bytes(whole_bundle.replace(b'"k3"', b'"k9"'))
    with pytest.raises(KeepingError, match="not as it was sealed"):
        await saving.restore(tmp_path / "other", target, *SAID)
    bundle.write_bytes(whole_bundle)
    (target / saving.MANIFEST).unlink()
    with pytest.raises(KeepingError, match="cut short"):
        await saving.restore(tmp_path / "other", target, *SAID)


@pytest.mark.parametrize("name", ["export", "export.tar"])
async def test_an_imported_ledger_has_the_same_sequence_times_and_root(
    place: Place, tmp_path: Path, name: str
) -> None:
    root = await filled(place, 1, 300)
    before = await whole(place)
    files = files_of(place)
    export(files, verifier_of(files), tmp_path / name)
    other = Place.fresh(tmp_path / "other")
    with files_at(tmp_path / name) as exported:
        done = await saving.bring_in(other.directory, exported, None, place.audit_key, SAID)
    assert (done.what, done.size, done.root) == ("imported", 300, root)
    held = await whole(other)
    assert held[:300] == before
    assert [type(fact_of(one)) for one in held[300:]] == [LedgerRecovered]


async def test_a_house_without_the_key_signs_the_imported_root_with_its_own_and_keeps_the_old_note(
    place: Place, tmp_path: Path
) -> None:
    root = await filled(place, 1, 10)
    files = files_of(place)
    former = verifier_of(files)
    export(files, former, tmp_path / "export")
    other = Place.fresh(tmp_path / "other")
    with files_at(tmp_path / "export") as exported:
        done = await saving.bring_in(other.directory, exported, former, None, SAID)
    assert (done.size, done.root) == (10, root)
    assert verifier_of(files_of(other)).vkey != former.vkey
    held = await whole(other)  # which compares with what the ledger says was sealed, by the new key
    recovered, sealed = fact_of(held[10]), fact_of(held[11])
    assert isinstance(recovered, LedgerRecovered)
    assert isinstance(sealed, LedgerSealed)
    assert former.name in recovered.checkpoint
    assert (sealed.size, sealed.root) == (10, root)
    assert sealed.checkpoint != recovered.checkpoint


async def test_an_export_of_another_key_than_the_one_that_is_trusted_is_not_imported(
    place: Place, tmp_path: Path
) -> None:
    await filled(place, 1, 3)
    stranger = Place.fresh(tmp_path / "stranger")
    await filled(stranger, 1, 3)
    trusted = Verifier.parse(verifier_of(files_of(stranger)).vkey)
    other = tmp_path / "other"
    with pytest.raises(KeepingError, match="not as it was sealed"):
        await saving.bring_in(other, files_of(place), trusted, None, SAID)
    with pytest.raises(SealKeyError):
        await saving.bring_in(other, files_of(place), None, tmp_path / "no-such-key", SAID)
    with pytest.raises(KeepingError, match="did not sign"):
        await saving.bring_in(other, files_of(place), None, stranger.audit_key, SAID)
    with pytest.raises(UsageError, match="--vkey"):
        await saving.bring_in(other, files_of(place), None, None, SAID)
    assert not (other / "audit").exists()


async def test_a_ledger_of_what_is_no_event_is_not_imported_whoever_signed_it(
    place: Place, tmp_path: Path
) -> None:
    async with running(place) as (bus, admin):
        await write(admin, 1, 2)
        await admin.append(Outgoing("vs.acme.gate.org.acme.gate.decided", "f" * 32, b"{"))
        await seal(place, reader := await bus.sealer())
        await reader.close()
    files = files_of(place)
    with pytest.raises(KeepingError, match="entry 3 is no event"):
        await saving.bring_in(tmp_path / "other", files, verifier_of(files), None, SAID)
    assert not (tmp_path / "other" / "audit").exists()


@pytest.mark.parametrize("where", ["a directory", "a tar"])
async def test_nothing_comes_with_an_import_but_what_an_archive_of_its_size_consists_of(
    place: Place, tmp_path: Path, where: str
) -> None:
    await filled(place, 1, 5)
    files = files_of(place)
    verifier, source = verifier_of(files), tmp_path / "export"
    export(files, verifier, source)
    (tmp_path / "secret").write_text("secret")
    (source / "tile" / "leak").symlink_to(tmp_path / "secret")
    (source / "tile/entries/000.p/200").write_bytes(b"planted")
    (source / "tile/0/001").write_bytes(b"planted")
    if where == "a tar":
        with tarfile.open(tmp_path / "export.tar", "w", dereference=True) as tar:
            tar.add(source, ".")
            tar.add(tmp_path / "secret", "tile/../../../evil")
        source = tmp_path / "export.tar"
    other = Place.fresh(tmp_path / "other")
    with files_at(source) as exported:
        await saving.bring_in(other.directory, exported, verifier, None, SAID)
    assert files_of(other).listed("tile") == ["tile/0/000.p/5", "tile/entries/000.p/5"]
    assert len(await whole(other)) == 7


@pytest.mark.parametrize("link", ["tile/entries/000.p/5", "tile/entries"])
async def test_a_link_in_an_export_is_not_followed(place: Place, tmp_path: Path, link: str) -> None:
    await filled(place, 1, 5)
    files = files_of(place)
    verifier, source = verifier_of(files), tmp_path / "export"
    export(files, verifier, source)
    (source / link).rename(tmp_path / "elsewhere")
    (source / link).symlink_to(tmp_path / "elsewhere")
    with files_at(source) as exported, pytest.raises(TileError, match="symbolic link"):
        await saving.bring_in(tmp_path / "other", exported, verifier, None, SAID)


def test_what_is_under_way_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    plan = intent.Intent(what="rolled", size=3, root="0" * 64, lines=(intent.Line("a", "b", "c"),))
    intent.write(tmp_path, plan)
    assert intent.read(tmp_path) == plan
    (tmp_path / intent.FILE).write_bytes(msgspec.json.encode({"what": 1}))
    with pytest.raises(KeepingError, match="cannot be read"):
        intent.read(tmp_path)
    intent.forget(tmp_path)
    assert intent.read(tmp_path) is None
