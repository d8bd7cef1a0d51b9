"""The sealer and its witnesses, over real HTTP: cosignatures are added, and no witness holds anything up."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from nacl.signing import SigningKey

from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import worker
from events.bus.port import Outgoing
from events.clock import SystemClock
from events.tlog.checkpoint import opened
from events.tlog.cosign import Cosigner
from events.tlog.files import DirectoryFiles
from events.tlog.leaf import entry
from events.tlog.note import Note, open_note, split
from events.tlog.reader import Archive
from events.tlog.writer import TileWriter
from services.sealer import witness as asking
from services.sealer.archive import SealedArchive
from services.sealer.aside import Thread
from services.sealer.halt import WitnessUnknownError
from services.sealer.witness import Witness, WitnessError
from services.sealer.worker import Sealer
from tests.archive_files import ORIGIN, SIGNER, MemoryFiles, archive_of, message, sealed
from tests.seams.bus_worlds import OVERDUE
from tests.seams.witness import WitnessServer, a_witness
from tests.support import eventually


def fill(server: MemoryServer, count: int) -> None:
    for _ in range(count):
        number = server.ledger.last + 1
        server.put([Outgoing(OVERDUE.format("v"), f"id-{number}", b"{}")], batch=False)


@pytest.fixture
async def bus() -> MemoryServer:
    loop = asyncio.get_running_loop()
    return MemoryServer(lambda: int(loop.time() * 1e9))


@asynccontextmanager
async def sealing(bus: MemoryServer, directory: Path, *witnesses: str) -> AsyncGenerator[None]:
    """A sealer with real files and a real client works as long as the block lasts."""
    async with httpx.AsyncClient() as client:
        task = asyncio.create_task(
            Sealer(
                MemoryBus(bus, worker("sealer")),
                SystemClock(),
                DirectoryFiles(directory),
                lambda _: SIGNER,
                Thread(),
                witnesses=[Witness(place, client) for place in witnesses],
            ).work()
        )
        try:
            yield
        finally:
            lived = not task.done()
            task.cancel()
            await asyncio.wait([task])
            if not lived:
                await task


def note_in(directory: Path, *witnesses: WitnessServer) -> Note | None:
    """The checkpoint on the disk, once every one of the witnesses has signed it."""
    data = DirectoryFiles(directory).read("checkpoint")
    if data is None or len(split(data)[1]) <= len(witnesses):
        return None
    return open_note(data, [SIGNER.verifier, *(one.cosigner.verifier for one in witnesses)])


async def test_each_checkpoint_on_the_disk_comes_to_carry_the_cosignature_of_every_witness(
    bus: MemoryServer, tmp_path: Path
) -> None:
    async with (
        a_witness(tmp_path / "w1", SIGNER.verifier, "witness.example/w1") as one,
        a_witness(tmp_path / "w2", SIGNER.verifier, "witness.example/w2") as two,
        sealing(bus, tmp_path / "audit", one.place, two.place),
    ):
        for count in (300, 40):
            fill(bus, count)
            size = bus.ledger.last

            def covered(size: int = size) -> bool:
                note = note_in(tmp_path / "audit", one, two)
                return (
                    note is not None
                    and len(note.verified) == 3
                    and opened(_data(tmp_path), SIGNER.verifier).size >= size
                )

            await eventually(covered, 10.0, why="no cosignature")
        assert [checkpoint.size for checkpoint in one.signed] == sorted(
            checkpoint.size for checkpoint in one.signed
        )


def _data(tmp_path: Path) -> bytes:
    return (tmp_path / "audit" / "checkpoint").read_bytes()


async def test_a_sealer_that_forgot_what_a_witness_has_seen_is_told_and_goes_on_from_there(
    bus: MemoryServer, tmp_path: Path
) -> None:
    async with a_witness(tmp_path / "w1", SIGNER.verifier) as witness:
        for _ in range(2):
            fill(bus, 300)
            size = bus.ledger.last
            async with sealing(bus, tmp_path / "audit", witness.place):
                await eventually(
                    lambda size=size: witness.signed and witness.signed[-1].size >= size, 10.0, why="unsigned"
                )
        assert witness.asked > len(witness.signed), "after its second start it was told once"


@pytest.mark.parametrize("how", ["silent", "broken", "gone"])
async def test_a_witness_that_does_not_sign_holds_up_nothing(
    bus: MemoryServer, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT_SECONDS", 0.3)
    async with a_witness(tmp_path / "w1", SIGNER.verifier) as witness:
        witness.silent, witness.broken = how == "silent", how == "broken"
        if how == "gone":
            witness.url = "http://127.0.0.1:9/add-checkpoint"
        async with sealing(bus, tmp_path / "audit", witness.place):
            for _ in range(3):
                fill(bus, 300)
                size = bus.ledger.last
                await eventually(
                    lambda size=size: Archive(DirectoryFiles(tmp_path / "audit")).size >= size, 2.0
                )
        assert len(split(_data(tmp_path))[1]) == 1


async def test_a_witness_that_was_away_signs_when_it_is_back_though_nothing_new_was_sealed(
    bus: MemoryServer, tmp_path: Path
) -> None:
    async with a_witness(tmp_path / "w1", SIGNER.verifier) as witness:
        witness.broken = True
        async with sealing(bus, tmp_path / "audit", witness.place):
            fill(bus, 300)
            await eventually(lambda: witness.asked > 0)
            size = Archive(DirectoryFiles(tmp_path / "audit")).size
            witness.broken = False
            await eventually(lambda: note_in(tmp_path / "audit", witness), 10.0, why="never signed")
            assert Archive(DirectoryFiles(tmp_path / "audit")).size == size


async def test_a_witness_that_saw_more_than_there_is_is_named_in_an_error(tmp_path: Path) -> None:
    files, shorter = archive_of(40), archive_of(30)
    async with a_witness(tmp_path / "w1", SIGNER.verifier) as server, httpx.AsyncClient() as client:
        witness = Witness(server.place, client)
        await witness.add(40, files.held["checkpoint"].decode(), Archive(files))
        forgetful = Witness(server.place, client)
        with pytest.raises(WitnessError, match=r"has seen '40' events of this log, and there are 30"):
            await forgetful.add(30, shorter.held["checkpoint"].decode(), Archive(shorter))


async def test_a_rewritten_history_is_signed_by_no_witness_that_saw_the_first_one(tmp_path: Path) -> None:
    files = archive_of(40)
    async with a_witness(tmp_path / "w1", SIGNER.verifier) as server, httpx.AsyncClient() as client:
        witness = Witness(server.place, client)
        await witness.add(40, files.held["checkpoint"].decode(), Archive(files))
        rewritten = rewritten_from(17, 60)
        with pytest.raises(WitnessError, match="422"):
            await witness.add(60, rewritten.held["checkpoint"].decode(), Archive(rewritten))
        assert server.last() == opened(files.held["checkpoint"], SIGNER.verifier)


async def test_a_signature_in_the_name_of_the_log_or_by_another_key_than_the_witnesss_is_not_taken(
    tmp_path: Path,
) -> None:
    files = archive_of(40)
    note = files.held["checkpoint"].decode()
    text, (own,) = split(note)
    async with a_witness(tmp_path / "w1", SIGNER.verifier) as server, httpx.AsyncClient() as client:
        witness = Witness(server.place, client)
        server.cosigner = Cosigner("witness.example/other", SigningKey(bytes(32)))
        with pytest.raises(WitnessError, match=r"by witness\.example/other that is not its own"):
            await witness.add(40, note, Archive(files))
    async with a_witness(tmp_path / "w2", SIGNER.verifier) as server, httpx.AsyncClient() as client:
        server.judge = lambda body: (200, "text/plain", own.line)
        with pytest.raises(WitnessError, match=f"by {ORIGIN} that is not its own"):
            await Witness(server.place, client).add(40, note, Archive(files))
    assert opened(files.held["checkpoint"], SIGNER.verifier).text == text


def test_what_a_witness_did_not_sign_takes_nobodys_place_under_the_checkpoint() -> None:
    files = archive_of(40)
    archive = SealedArchive(files, SIGNER)
    good, other = (
        Cosigner(f"witness.example/{name}", SigningKey(name.encode() * 16)) for name in ("w1", "w2")
    )
    text, (own,) = split(files.held["checkpoint"])
    assert archive.cosign(40, [good.sign(text, 1)], good.verifier)
    before = files.held["checkpoint"]
    forged = [dataclasses.replace(one, raw=bytes(len(one.raw))) for one in (good.sign(text, 1), own)]
    archive.cosign(40, forged, other.verifier)
    assert files.held["checkpoint"] == before
    assert len(open_note(before, [SIGNER.verifier, good.verifier]).verified) == 2


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:9/add-checkpoint", f"http://127.0.0.1:9/add-checkpoint {SIGNER.vkey}", ""]
)
async def test_a_witness_that_is_named_without_its_key_is_refused_with_what_to_write(place: str) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(WitnessUnknownError, match="a space and its public key"):
            Witness(place, client)


def rewritten_from(seq: int, size: int) -> MemoryFiles:
    """An archive whose events from `seq` on are others than `archive_of` gives, by the same key."""
    files = MemoryFiles()
    writer = TileWriter(files)
    for number in range(1, size + 1):
        one = message(number)
        writer.add(entry(one if number < seq else msgspec.structs.replace(one, payload=b"other")))
    writer.commit(sealed(writer))
    return files


async def test_a_witness_that_was_started_again_has_not_forgotten(tmp_path: Path) -> None:
    files = archive_of(40)
    for start in range(2):
        async with a_witness(tmp_path / "w1", SIGNER.verifier) as server, httpx.AsyncClient() as client:
            await Witness(server.place, client).add(40, files.held["checkpoint"].decode(), Archive(files))
            assert server.asked == 1 + start
