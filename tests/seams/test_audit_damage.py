"""A damaged store of the bus: whatever is another message than was sealed is found, and what is not found is no other."""

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from events.bus import streams
from events.bus.port import Bus, BusError, Outgoing, Stored
from events.tlog.reader import Archive
from replay.audit.against_bus import against_bus
from replay.audit.verify import Verdict
from services.sealer.compare import scrub
from services.sealer.halt import SealerError
from tests.rules.archives import MemoryFiles, sealed
from tests.seams.bus_worlds import ADMIN, OVERDUE, VIEW, NatsWorld
from tests.seams.damage import KINDS, Damage, Kind, damage

MESSAGES = 3000
AT_ONCE = 4
SCRUB_SECONDS = 20.0
DAILY = range(20)
MANY = range(20, 220)

HURT = frozenset({"BusHole", "EndsEarly", "unaltered"})
LOOKS: dict[Kind, frozenset[str]] = {
    "flip": HURT,
    "truncate": HURT,
    "swap": HURT,
    "exchange": HURT,
    "drop-block": HURT,
    "drop-index": frozenset({"unaltered"}),
    "flip-index": HURT,
    "flip-meta": frozenset({"StreamLost", "unaltered"}),
}
"""What each kind may look like, as docs/audit.md says."""


@dataclass(frozen=True)
class Prepared:
    """A ledger whose server has stopped, or was killed, and what it held."""

    clean: Path
    killed: Path
    stored: Sequence[Stored]
    archive: MemoryFiles


@dataclass(frozen=True)
class Seen:
    """What came of one damage."""

    damage: Damage
    codes: list[str]
    """Of the verdicts that are not well."""
    verdicts: tuple[Verdict, ...]
    first_altered: int | None
    """The first message that the bus does not give as it was given: looked at without verify. None when all are."""
    sealer: str
    """What the sealer does, which compares the bus with the archive before it lets anybody write."""
    anew: bool
    """Whether the bus came up without a ledger, and it was defined anew."""

    @property
    def looks(self) -> list[str]:
        return (["StreamLost"] if self.anew else []) + (self.codes or ["unaltered"])


async def read_all(bus: Bus, last: int) -> list[Stored]:
    stored: list[Stored] = []
    while len(stored) < last:
        stored += await bus.read_ahead(len(stored) + 1, last)
    return stored


def outgoing() -> list[Outgoing]:
    """Small and large messages in three block files of the server."""
    chance = random.Random(4)
    return [
        Outgoing(
            OVERDUE.format(f"v{at % 40}"),
            f"{at:032x}",
            chance.randbytes(100 if at % 2 else 12_000).hex()[: 200 if at % 2 else 12_000].encode(),
        )
        for at in range(MESSAGES)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prepared]:
    directory = tmp_path_factory.mktemp("ledger")
    world = NatsWorld(directory / "killed")
    await world.open(0.1, 256 * 1024**2)
    admin = await world.connect(ADMIN)
    messages = outgoing()
    for begin in range(0, MESSAGES, 500):
        await admin.append_batch(messages[begin : begin + 500])
    stored = await read_all(await world.connect(VIEW), MESSAGES)
    await world.kill_server()
    await admin.close()
    shutil.copytree(directory / "killed", directory / "clean")
    clean = NatsWorld(directory / "clean")
    await clean.server.start()
    await clean.close()
    await world.close()
    yield Prepared(directory / "clean", directory / "killed", stored, sealed(stored))


async def tried(prepared: Prepared, directory: Path, seed: int) -> Seen:
    """The store is copied, hurt, and served by a new server; then it is looked at twice."""
    shutil.copytree(prepared.killed if seed // len(KINDS) % 2 else prepared.clean, directory)
    done, anew = damage(directory / "store", seed), False
    world = NatsWorld(directory)
    try:
        await world.server.start()
        bus = await world.connect(VIEW)
        try:
            store = await bus.store()
        except BusError as error:
            if "stream not found" not in str(error):
                raise
            # `up` would define the stream anew now, and the server finds again what lies there.
            await streams.establish(await world.connect(ADMIN))
            store, anew = await bus.store(), True
        first = await first_altered(bus, prepared.stored, store.last_seq)
        verdicts = await against_bus(bus, Archive(prepared.archive))
        sealer = await refuses(bus, Archive(prepared.archive), store.first_seq)
        codes = sorted({verdict.code for verdict in verdicts if not verdict.ok})
        return Seen(done, codes, verdicts, first, sealer, anew)
    finally:
        await world.close()
        shutil.rmtree(directory)


async def refuses(bus: Bus, archive: Archive, first_seq: int) -> str:
    """How the sealer's comparison at a start ends: `permits`, or `refuses` with a sentence. It must not wait for what never comes."""
    try:
        async with asyncio.timeout(SCRUB_SECONDS):
            await scrub(bus, archive, first_seq, background=False)
    except (SealerError, BusError):
        return "refuses"
    except TimeoutError:
        return "waits for ever"
    return "permits"


async def first_altered(bus: Bus, stored: Sequence[Stored], last: int) -> int | None:
    """The first message that the bus does not give as it was given, each asked for by its sequence."""
    end = None if last == len(stored) else min(last, len(stored)) + 1
    for begin in range(0, len(stored), 100):
        wanted = list(stored[begin : begin + 100])
        try:
            if await bus.read(begin + 1, begin + len(wanted)) == wanted:
                continue
        except BusError as error:
            if "its store is damaged" not in str(error):
                raise
        for one in wanted:
            try:
                [found] = await bus.read(one.seq, one.seq) or [None]
            except BusError:
                found = None
            if found != one:
                return one.seq
    return end


async def each(prepared: Prepared, directory: Path, seeds: range) -> dict[int, Seen]:
    """Every seed's damage, a few at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> Seen:
        async with room:
            return await tried(prepared, directory / str(seed), seed)

    return dict(zip(seeds, await asyncio.gather(*(one(seed) for seed in seeds)), strict=True))


def complaints(seen: Seen) -> list[str]:
    """What of the promise this damage has broken; nothing when it was kept."""
    broken = []
    altered = seen.first_altered is not None
    if bool(seen.codes) != altered:
        broken.append(
            f"verify says {seen.looks}, and the first message that is another is {seen.first_altered}"
        )
    if seen.sealer != ("refuses" if altered else "permits"):
        broken.append(
            f"the sealer {seen.sealer}, and the first message that is another is {seen.first_altered}"
        )
    if seen.first_altered is not None:
        trusted = min((verdict.trusted_to for verdict in seen.verdicts if not verdict.ok), default=0)
        if trusted >= seen.first_altered:
            broken.append(f"trusted to {trusted}, and {seen.first_altered} is another")
        if all(verdict.first_bad_seq is None for verdict in seen.verdicts):
            broken.append("no verdict names a sequence")
    if not set(seen.looks) <= LOOKS[seen.damage.kind]:
        broken.append(f"looks like {seen.looks}, which docs/audit.md does not say")
    return [f"{seen.damage}: {what}" for what in broken]


async def promised(prepared: Prepared, directory: Path, seeds: range) -> None:
    before = dict(prepared.archive.files)
    seen = await each(prepared, directory, seeds)
    for seed, one in seen.items():
        print(seed, one.damage, *one.looks, one.sealer, one.first_altered)
    print(Counter((one.damage.kind, *one.looks, one.sealer) for one in seen.values()))
    assert {seed: broken for seed, one in seen.items() if (broken := complaints(one))} == {}
    assert prepared.archive.files == before, "verify only looks"


@pytest.mark.asyncio(loop_scope="module")
async def test_each_of_twenty_damages_is_detected_or_has_changed_no_message(
    prepared: Prepared, tmp_path: Path
) -> None:
    await promised(prepared, tmp_path, DAILY)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.asyncio(loop_scope="module")
async def test_each_of_two_hundred_damages_is_detected_or_has_changed_no_message(
    prepared: Prepared, tmp_path: Path
) -> None:
    await promised(prepared, tmp_path, MANY)
