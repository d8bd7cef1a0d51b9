"""`virtscale ledger roll` and `recover`: the ledger goes on in a new stream, with all of the past or with what is left."""

import contextlib
import datetime as dt
from dataclasses import dataclass

from events.bus import mark
from events.bus.past import Past
from events.bus.port import Bus, BusError
from events.envelope import read as read_event
from events.ledger import LedgerRecovered
from events.tlog.files import DirectoryFiles
from lab.errors import LabError
from replay.keeping import first, intent, sealing
from replay.keeping.intent import Intent, KeepingError
from services.sealer.archive import SealedArchive, is_empty
from virtscale import description
from virtscale.audit.maintenance import BusAlone, Place, bus_alone
from virtscale.progress import Progress
from virtscale.show import say


@dataclass(frozen=True, slots=True)
class GoneOn:
    """How the ledger went on: behind which checkpoint, with what lost, and where the old store lies if it was kept."""

    what: str
    size: int
    root: str
    lost_first: int = 0
    lost_last: int = 0
    epoch: int = 0
    kept: str = ""


async def roll(place: Place, actor: str, reason: str) -> GoneOn:
    """The bus's stream is empty but for `ledger.rolled`; every event before it is in the archive, compared one by one.

    Safe to repeat: what an earlier run began is completed first, and then nothing more is done.
    """
    with place.down():
        intent.require_whole(place.directory)
        files = DirectoryFiles(place.audit)
        async with bus_alone(place) as bus:
            done = await _completed(place, bus)
            if done is not None:
                return done
            reader = await bus.sealer()
            try:
                if sealing.wants_key(place.audit_key, files):
                    await sealing.require_first_key(reader, files, place.audit_key)
                signer = sealing.signer_of(place.audit_key, place.origin, files)
                store = await reader.store()
                with Progress("seal") as told:
                    archive = await sealing.seal_to_the_end(reader, files, signer, told)
                if store.last_seq <= store.first_seq:
                    raise KeepingError(
                        "NothingToRoll",
                        f"The bus's stream begins with event {store.first_seq} and ends with {store.last_seq}: it was rolled "
                        "just now, or nothing was ever stored. Nothing was done.",
                    )
            finally:
                await reader.close()
            with Progress("verify") as told:
                sealing.require_sound(files, signer, told)
            last = archive.last
            word = first.Word(actor, reason, dt.datetime.now(dt.UTC))
            plan = Intent(
                what="rolled",
                size=last.size,
                root=last.root.hex(),
                lines=(first.rolled(place.origin, last, word),),
                last_seq=last.size,
            )
            intent.write(place.directory, plan)
            await bus.stand()
            return GoneOn("rolled", last.size, last.root.hex())


async def recover(place: Place, actor: str, reason: str, *, new_key: bool = False) -> GoneOn:
    """A new epoch has begun behind the last checkpoint that holds; what the broken store still gave was sealed first.

    The old store is kept beside the new one. Marks of what was lost are void. Raises `KeepingError` when the archive is not
    whole: what it does not hold cannot be made up. With `new_key` a log that lost its archive and its key goes on under
    another one, if the bus holds all that was sealed; the first event's checkpoint says so, and a `ledger.sealed` behind it.
    """
    with place.down():
        intent.require_whole(place.directory)
        pending = intent.read(place.directory)
        if pending is not None and pending.what != "rolled":
            async with bus_alone(place) as bus:
                done = await _completed(place, bus)
                assert done is not None, pending
                return done
        intent.forget(place.directory)  # a roll that cannot be completed: all of it is in the archive
        files = DirectoryFiles(place.audit)
        if not place.bus.exists() and is_empty(files):
            raise KeepingError(
                "NothingToRecover",
                f"The house {place.directory} has neither a store nor an archive. Nothing was done. Put a backup back with "
                "`virtscale ledger restore`.",
            )
        if sealing.wants_key(place.audit_key, files):
            await _require_first_key(place, files, new_key=new_key)
        signer = sealing.signer_of(place.audit_key, place.origin, files)
        if not is_empty(files):
            with Progress("verify") as told:
                sealing.require_sound(files, signer, told)
        archive = SealedArchive(files, signer)
        marks = _marks(place)
        salvaged = await _salvaged(place, archive, marks, another_key=new_key)
        last = archive.last
        if not last.size:
            raise KeepingError(
                "NothingToRecover",
                f"The archive {place.audit} is empty, and the bus does not make up for it: {salvaged.why or 'it is empty too'}. "
                "Nothing was done. Put a backup back with `virtscale ledger restore`.",
            )
        if salvaged.why:
            say(f"Beyond sequence {last.size} nothing can be taken over: {salvaged.why}")
        highest = max([one.seq for one in marks] + [salvaged.seen if salvaged.why else 0])
        lost = (last.size + 1, highest) if highest > last.size else (0, 0)
        epoch = await epochs(place, last.size) + 1
        word = first.Word(actor, reason, dt.datetime.now(dt.UTC))
        lines = [first.recovered(place.origin, last, epoch, lost, word)]
        if new_key:
            lines.append(first.sealed(place.origin, last, word.now))
        plan = Intent(
            what="recovered",
            size=last.size,
            root=last.root.hex(),
            lines=tuple(lines),
            aside=_aside(place),
            forget_marks=True,
        )
        description.begin(place.directory, place.origin)  # where it was lost with the rest
        intent.write(place.directory, plan)
        async with bus_alone(place) as bus:
            await bus.stand()
        kept = str(place.bus / plan.aside)
        return GoneOn("recovered", last.size, last.root.hex(), *lost, epoch, kept)


async def _completed(place: Place, bus: BusAlone) -> GoneOn | None:
    """What an earlier run began is done now; None when there was nothing."""
    if intent.read(place.directory) is None:
        return None
    done = await bus.stand()
    assert done is not None, place
    say(f"What an earlier run had begun is done now: the ledger was {done.what} behind sequence {done.size}.")
    return GoneOn(done.what, done.size, done.root)


async def _require_first_key(place: Place, files: DirectoryFiles, *, new_key: bool) -> None:
    async with bus_alone(place) as bus:
        await bus.find_again()
        reader = await bus.sealer()
        try:
            await sealing.require_first_key(reader, files, place.audit_key, anew=new_key)
        finally:
            await reader.close()


async def _salvaged(
    place: Place, archive: SealedArchive, marks: list[mark.Mark], *, another_key: bool
) -> sealing.Salvaged:
    """What the broken bus still gave; a bus that does not come up gives nothing."""
    reader: Bus | None = None
    try:
        async with bus_alone(place) as bus:
            await bus.find_again()
            reader = await bus.sealer()
            try:
                with Progress("salvage") as told:
                    return await sealing.salvage(reader, archive, marks, told, another_key=another_key)
            finally:
                await reader.close()
    except (BusError, LabError) as error:
        if archive.last.size == 0:
            raise
        return sealing.Salvaged(0, 0, f"the bus does not give its ledger: {error}")


def _marks(place: Place) -> list[mark.Mark]:
    """How far each worker had acted; one that cannot be read says nothing."""
    found: list[mark.Mark] = []
    for path in sorted(place.marks.glob("*.json")):
        with contextlib.suppress(mark.LedgerDiffersError):
            known = mark.read(path)
            if known is not None:
                found.append(known)
    return found


async def epochs(place: Place, size: int) -> int:
    """How often the ledger was recovered within its first `size` events."""
    past = Past(place.audit)
    found = await past.last_on(first.RECOVERED, size)
    while found is not None:
        if found.id:  # what no pen wrote stands anywhere
            fact = read_event(found.seq, found.stored_ns, found.payload, found.subject).fact
            assert isinstance(fact, LedgerRecovered), fact
            return fact.epoch
        found = await past.last_on(first.RECOVERED, found.seq - 1)
    return 0


def _aside(place: Place) -> str:
    """A name that no store was kept under yet."""
    number = 1
    while (place.bus / f"store.lost-{number}").exists():
        number += 1
    return f"store.lost-{number}"
