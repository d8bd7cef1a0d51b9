"""A driver that dies in the middle of a call leaves nothing that the same call, asked again, does not put right."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import msgspec
import pytest
import pytest_asyncio

from schemas.house import HostPlace
from services.storage.volumes import Copy, InUseError, Seen, TooEarlyError, Trashed, Volume
from tests.seams.store_life import Life, Place
from tests.seams.stores import MIB, TEMPLATE, Bench
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECONDS = 60
SIZE = 32 * MIB
MOMENTS = 4


@dataclass
class Lives:
    """A process that lives and dies for us."""

    process: asyncio.subprocess.Process

    async def spend(self, bench: Bench, trial: "Trial", seconds: float) -> str:
        """A life does the trial's call for so long; 0 for as long as it takes."""
        kinds = [_kind(one) for one in trial.arguments]
        life = Life(bench.kind, trial.call, trial.volume, list(trial.arguments), kinds, seconds)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(life, enc_hook=str) + b"\n")
        async with asyncio.timeout(SECONDS):
            return (await self.process.stdout.readline()).decode().strip()


@dataclass
class Trial:
    """A call on a volume that is ready for it, and what must hold once it was asked again."""

    call: str
    volume: Volume
    arguments: tuple[object, ...]
    holds: Callable[[object], Awaitable[None]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lives(both: dict[str, Bench]) -> AsyncIterator[Lives]:
    bench = both["rbd"]
    host = HostPlace("h1", bench.machine.uri, "tcg", 1024, 20000, volumes=str(bench.machine.volumes))
    place = Place(host, str(bench.directory / "templates"), str(bench.conf))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.seams.store_life", msgspec.json.encode(place).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Lives(process)
    finally:
        process.kill()
        await process.wait()


async def _trial(bench: Bench, call: str) -> Trial:  # noqa: PLR0915 - a case for each call
    """A volume over the template with a snapshot `one` of an A, and a B since."""
    store, volume = bench.store, bench.volume()
    await store.create(volume, SIZE, TEMPLATE)
    if call in {"create", "grow", "source"}:
        size_bytes = SIZE if call == "create" else 2 * SIZE
        if call == "create":
            volume = bench.volume()

        async def sized(answer: object) -> None:
            assert (answer.size_bytes if isinstance(answer, Seen) else answer) == size_bytes
            assert bench.reads(volume, "T")

        return Trial(
            call, volume, (volume, size_bytes, TEMPLATE) if call == "create" else (volume, size_bytes), sized
        )
    bench.write(volume, "A", MIB)
    if call != "snapshot":
        await store.snapshot(volume, "one")
        bench.write(volume, "B", MIB)
    letter, arguments, other = "B", (volume, "one"), bench.volume()
    match call:
        case "snapshot":
            letter = "A"
        case "restore":
            letter, arguments = "A", (volume, "one", SIZE)
        case "forget":
            pass
        case "clone":
            arguments = (volume, "one", other)
        case "duplicate":
            arguments = (volume, "one", other, "order")
        case "detach":
            arguments = (volume,)
        case "trash":
            arguments = (volume, 3600)
        case "recover":
            arguments = (await store.trash(volume, 3600),)
        case "purge":
            arguments = (await store.trash(volume, 0),)
        case "discard":
            assert await store.claim(other, "order")
            await store.load(await store.export(volume, "one", bench.file()), other)
            arguments = (other, "order")
        case "export":
            arguments = (volume, "one", bench.file())
        case "load":
            arguments = (await store.export(volume, "one", bench.file()), other)
        case _:
            raise AssertionError(call)

    async def holds(answer: object) -> None:
        if call == "purge":
            assert await store.look(volume) is None
            assert all(one.volume != volume for one in await store.trashed(volume.org))
            return
        if call == "discard":
            assert await store.look(other) is None
            assert all(one.volume != other for one in await store.trashed(volume.org))
            assert await store.claim(other, "another")
        if call == "trash":
            assert isinstance(answer, Trashed)
            assert [one for one in await store.trashed(volume.org) if one.volume == volume] == [answer]
            await store.recover(answer)
        if call == "duplicate":
            assert isinstance(answer, Seen)
            assert answer.parent is None
        if call in {"clone", "duplicate", "load"}:
            assert bench.reads(other, "A", MIB)
            assert bench.reads(other, "T")
        if call == "export":
            assert isinstance(answer, Copy)
            loaded = bench.volume()
            await store.load(answer, loaded)
            assert bench.reads(loaded, "A", MIB)
        assert bench.reads(volume, letter, MIB)
        names = [one.name for one in await store.snapshots(volume)]
        assert names == ([] if call == "forget" else ["one"])

    return Trial(call, volume, arguments, holds)


CALLS = (
    *("create", "grow", "snapshot", "restore", "forget", "clone", "duplicate"),
    *("detach", "trash", "recover", "purge", "discard", "export", "load"),
)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("qcow2", "duplicate"),
        *(pytest.param(kind, one, marks=pytest.mark.long) for kind in ("qcow2", "rbd") for one in CALLS),
    ],
)
async def test_a_call_that_was_cut_short_is_made_good_by_asking_again(
    both: dict[str, Bench], lives: Lives, kind: str, call: str, request: pytest.FixtureRequest
) -> None:
    bench = both[kind]
    trial = await _trial(bench, call)
    began = perf_counter()
    assert await lives.spend(bench, trial, 0) == "done"
    whole = perf_counter() - began
    await trial.holds(await _again(bench, trial))

    moments = MOMENTS if request.node.get_closest_marker("long") else 2
    ended: list[str] = []
    for moment in range(moments):
        trial = await _trial(bench, call)
        # The first half of the time goes into waking up; and what takes a millisecond is cut within it.
        ended.append(await lives.spend(bench, trial, max(whole / 2 * (moment + 1) / moments, 0.0003)))
        await trial.holds(await _again(bench, trial))
    assert set(ended) <= {"killed", "done"}


async def _again(bench: Bench, trial: Trial) -> object:
    """The same call by another life. The first one's may still be on its way: what has it open for that long is waited for."""

    async def asked() -> tuple[object] | None:
        try:
            return (await getattr(bench.store, trial.call)(*trial.arguments),)
        except (InUseError, TooEarlyError):
            return None

    answered = await eventually(asked, SECONDS, every_seconds=0.1)
    assert answered is not None
    return answered[0]


def _kind(value: object) -> str:
    match value:
        case Volume():
            return "volume"
        case Trashed():
            return "trashed"
        case Copy():
            return "copy"
        case Path():
            return "path"
        case _:
            return "plain"
