"""Storage at work on a host of toys, in virtual time: what it says, and that a wake is never in its way."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.vm import VmQuiesced
from events.volume import SnapshotFailed, SnapshotTaken, VolumeCreated, VolumeFailed
from projections.volumes.fold import Volumes as Folded
from schemas.pool import Storage as Kind
from schemas.seed import Seed
from services.storage.errors import StorageError, WokeError
from services.storage.port import Look, Made, Sleeper, Standing, Volumes
from services.storage.volumes import Store
from services.storage.worker import Pauses, Storage
from services.waker.port import domain_name
from tests.rules.desk import play
from tests.rules.waker_host import Site
from tests.simulation.clock import pause

VOLUME = "/volumes/acme.web-1.qcow2"
AT_ONCE = Pauses(0.0, 0.0)


@dataclass
class Toy:
    """One disk; `no` says which of the next calls are refused, `slow` how long a join takes."""

    standing: Standing = "paused"
    layers: int = 1
    pinned: int | None = None
    joining: bool = False
    slow: float = 0.0
    no: dict[str, deque[StorageError]] = field(default_factory=dict[str, "deque[StorageError]"])
    asked: list[str] = field(default_factory=list[str])
    there: set[str] = field(default_factory=set[str])
    """VMs whose volume is there."""
    during: dict[str, Callable[[], object]] = field(default_factory=dict[str, "Callable[[], object]"])
    """What happens while a call is under way."""

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return template == "seeded"

    def store(self, host: str, storage: Kind) -> Store | None:
        return None

    async def lay_seed(self, org: str, vm: str, seed: Seed) -> None:
        await self._ask(f"lay {seed.hostname}")

    def at(self, host: str) -> Volumes | None:
        return self if host == "h1" else None

    async def make(self, org: str, vm: str, template: str) -> Made:
        await self._ask("make")
        fresh = vm not in self.there
        self.there.add(vm)
        return Made(f"/volumes/{org}.{vm}.qcow2", 1 << 26, fresh)

    async def look(self, sleeper: Sleeper) -> Look:
        assert sleeper == Sleeper(domain_name("acme", "web-1"), VOLUME)
        await self._ask("look")
        return Look(self.standing, self.layers, self.pinned, self.joining)

    async def join(self, sleeper: Sleeper, asleep: Callable[[], bool]) -> None:
        self.joining = True
        await self._ask("join")
        for _ in range(int(self.slow / 0.1)):
            await pause(0.1)
            if not asleep():
                await self.abandon(sleeper)
                raise WokeError("It woke.")
        self.layers, self.pinned, self.joining = 1, None, False

    async def abandon(self, sleeper: Sleeper) -> None:
        await self._ask("abandon")
        self.joining = False

    async def pin(self, sleeper: Sleeper, asleep_since: int) -> str:
        await self._ask("pin")
        self.layers, self.pinned = self.layers + 1, asleep_since
        return sleeper.volume

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await pause(0.01)
        if (happens := self.during.pop(what, None)) is not None:
            happens()
        refusals = self.no.get(what)
        if refusals:
            raise refusals.popleft()


class Scene:
    """A desk with VM web-1, whose disk is a toy."""

    def __init__(self) -> None:
        self.site = Site()
        self.toy = Toy()

    @asynccontextmanager
    async def storage(self, pauses: Pauses = AT_ONCE) -> AsyncGenerator[None]:
        bus = self.site.desk.connect(worker("storage"))
        ledger = Ledger(bus)
        work = Storage(ledger, bus, self.site.desk.clock, self.toy, pauses).work()
        tasks = [asyncio.create_task(work), asyncio.create_task(ledger.follow())]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()

    def disk(self) -> str:
        """VM web-1 runs and has its disk; its reservation."""
        reservation = self.site.awake()
        now = self.site.desk.clock.now()
        self.site.desk.write(VolumeCreated("acme", "web-1", "h1", VOLUME, "tiny", 1 << 26, reservation, now))
        return reservation

    def sleeps(self, reservation: str) -> int:
        """It falls asleep; the sequence that says so."""
        self.site.quiesce("web-1", reservation)
        return self.site.desk.facts(VmQuiesced)[-1].seq

    def wakes(self, number: int = 9) -> str:
        """The gate has it woken, and it runs and is ready."""
        self.toy.standing = "running"
        reservation = self.site.wake("web-1", number)
        self.site.ready("web-1", reservation)
        return reservation

    def codes(self) -> list[str]:
        return [said.code for said in self.site.said(SnapshotFailed)]


def test_a_boot_of_a_new_vm_gets_its_disk_and_no_other() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.site.boot()
            await pause(1)
            (made,) = here.site.said(VolumeCreated)
            assert (made.volume, made.size_bytes, made.order, made.host) == (VOLUME, 1 << 26, order, "h1")
            here.site.boot(number=2)
            here.site.boot("web-2", template="diskless")
            await pause(1)
        assert here.toy.asked == ["make"] * 2, "it was looked for"
        assert len(here.site.said(VolumeCreated)) == 1, "and found"


def test_a_disk_that_is_gone_is_made_anew_for_the_next_boot_and_its_pin_is_no_more() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.sleeps(here.disk())
            await pause(1)
            order = here.site.boot(number=2)
            await pause(1)
            (_, made) = here.site.said(VolumeCreated)
            assert (made.volume, made.order) == (VOLUME, order)
        told = [*here.site.desk.facts(VolumeCreated), *here.site.desk.facts(SnapshotTaken)]
        volumes = Folded()
        for recorded in sorted(told, key=lambda one: one.seq):
            volumes.apply(recorded)
        disk = volumes.disks["acme", "web-1"]
        assert (disk.layers, disk.snapshot, disk.pinned_since) == (1, None, None)

    play(scene)


def test_a_host_that_refuses_is_asked_three_times_and_one_that_is_away_until_it_is_back() -> None:
    async def scene() -> None:
        here = Scene()
        away = [StorageError("There is no connection.", lost=True)] * 5
        full = [StorageError("No space left on device.")] * 3
        here.toy.no["make"] = deque([*away, *full])
        async with here.storage():
            order = here.site.boot()
            await pause(60)
        (said,) = here.site.said(VolumeFailed)
        assert (said.order, said.code, "No space" in said.text) == (order, "refused", True)
        assert here.toy.asked == ["make"] * 8

    play(scene)


def test_what_cannot_be_mended_by_asking_again_is_said_at_once() -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.no["make"] = deque([StorageError("There is no disk.qcow2.", final=True)])
        async with here.storage():
            here.site.boot()
            await pause(1)
        assert here.toy.asked == ["make"]
        assert len(here.site.said(VolumeFailed)) == 1

    play(scene)


def test_a_disk_is_pinned_in_each_sleep_and_the_former_pin_is_given_up_first() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        async with here.storage():
            first = here.sleeps(reservation)
            await pause(1)
            assert [(one.asleep_since, one.layers) for one in here.site.said(SnapshotTaken)] == [(first, 2)]
            again = here.wakes()
            await pause(1)
            here.toy.standing = "paused"
            second = here.sleeps(again)
            await pause(1)
        assert [(one.asleep_since, one.layers) for one in here.site.said(SnapshotTaken)][1:] == [(second, 2)]
        assert [one for one in here.toy.asked if one != "look"] == ["pin", "join", "pin"]
        assert here.toy.layers == 2
        assert not here.codes()

    play(scene)


def test_a_vm_without_a_disk_is_left_alone() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.site.awake()
        async with here.storage():
            here.sleeps(reservation)
            await pause(10)
        assert here.toy.asked == []

    play(scene)


def test_a_pin_that_landed_unanswered_is_told_and_not_repeated() -> None:
    async def scene() -> None:
        here = Scene()
        sleep = here.sleeps(here.disk())
        here.toy.layers, here.toy.pinned = 2, sleep
        async with here.storage():
            await pause(1)
        (said,) = here.site.said(SnapshotTaken)
        assert said.asleep_since == sleep
        assert "pin" not in here.toy.asked

    play(scene)


def test_a_vm_that_woke_before_anything_was_done_is_said_to_have_woken() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        async with here.storage():
            here.toy.during["look"] = here.wakes
            here.sleeps(reservation)
            await pause(5)
        assert here.codes() == ["woke"]
        assert here.toy.asked == ["look"]

    play(scene)


def test_a_long_join_ends_when_its_vm_wakes() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        here.toy.layers, here.toy.pinned, here.toy.slow = 2, 3, 60.0
        here.toy.no["abandon"] = deque([StorageError("Busy.")] * 2)
        async with here.storage():
            here.sleeps(reservation)
            await pause(2)
            here.wakes()
            await pause(5)
            assert here.codes() == ["woke-late"]
        assert not here.toy.joining
        assert here.toy.layers == 2
        assert not here.site.said(SnapshotTaken)

    play(scene)


def test_a_pin_that_landed_under_a_vm_that_had_woken_is_not_called_one() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        async with here.storage():
            here.toy.during["pin"] = here.wakes
            here.sleeps(reservation)
            await pause(5)
        assert here.codes() == ["woke-late"]
        assert not here.site.said(SnapshotTaken)

    play(scene)


def test_a_refused_pin_is_tried_three_times_and_leaves_no_join_behind() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        here.toy.layers, here.toy.pinned = 2, 3
        here.toy.no["join"] = deque([StorageError("No space left on device.")] * 3)
        async with here.storage():
            here.sleeps(reservation)
            await pause(30)
        assert here.codes() == ["unpinned"]
        assert here.toy.asked.count("join") == 3
        assert not here.toy.joining

    play(scene)


def test_a_chain_that_is_not_its_own_is_not_touched() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        here.toy.layers = 3
        async with here.storage():
            here.sleeps(reservation)
            await pause(5)
        assert here.codes() == ["refused"]
        assert here.toy.asked == ["look"]

    play(scene)


def test_a_new_life_touches_no_disk_before_what_the_former_asked_is_over() -> None:
    async def scene() -> None:
        here = Scene()
        here.sleeps(here.disk())
        async with here.storage(Pauses(nap_seconds=0.0)):
            await pause(Pauses().settle_seconds - 1)
            assert here.toy.asked == []
            await pause(2)
        assert len(here.site.said(SnapshotTaken)) == 1

    play(scene)


def test_a_boot_in_a_new_life_waits_for_no_pin_of_the_former_one() -> None:
    async def scene() -> None:
        here = Scene()
        here.sleeps(here.disk())
        async with here.storage(Pauses()):
            await pause(1)
            order = here.site.boot(number=2)
            await pause(1)
            (_, made) = here.site.said(VolumeCreated)
            assert made.order == order
            assert here.toy.asked == ["make"]

    play(scene)


def test_a_join_that_a_former_life_left_under_an_awake_vm_is_ended_and_its_pin_told_lost() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        async with here.storage():
            here.sleeps(reservation)
            await pause(1)
            here.wakes()
            await pause(1)
        here.toy.joining = True
        async with here.storage():
            await pause(1)
        assert not here.toy.joining
        assert here.codes() == ["unpinned"]

    play(scene)


def test_a_host_without_a_place_for_disks_says_how_to_name_one() -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.at = lambda _host: None  # type: ignore[method-assign]
        async with here.storage():
            here.site.boot()
            await pause(1)
        (said,) = here.site.said(VolumeFailed)
        assert said.code == "no-volumes"
        assert "host add --volumes" in said.text

    play(scene)


def test_a_nap_is_not_pinned_and_nobody_speaks_of_it() -> None:
    async def scene() -> None:
        here = Scene()
        reservation = here.disk()
        async with here.storage(Pauses(settle_seconds=0.0)):
            here.sleeps(reservation)
            await pause(1)
            again = here.wakes()
            await pause(5)
            assert here.toy.asked == []
            here.toy.standing = "paused"
            sleep = here.sleeps(again)
            await pause(5)
        assert [one.asleep_since for one in here.site.said(SnapshotTaken)] == [sleep]
        assert not here.codes()

    play(scene)
