"""A whole installation on one machine, out of the lab's parts: for `virtscale up`, and for tests that need it all."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Literal, Self

import msgspec

from events import keys
from events.bus.entrance import connect_as
from events.bus.permissions import Permit, admin, operator, reader, workers
from events.bus.port import Bus, UnansweredError
from events.clock import clock_of
from events.lock import hold
from lab import doctor
from lab.alertmanager import Alertmanager
from lab.balancer import Balancer, Frontend
from lab.bus import BusServer, BusUser
from lab.errors import LabError
from lab.hypervisor import Hypervisor, short_directory
from lab.mail import Mail, MailSink
from lab.metrics import Metrics, Push, Target
from lab.ports import LOOPBACK
from projections.contracts.fold import Contracts
from replay.keeping import intent
from schemas.house import HostPlace, House
from schemas.pool import read as read_pool
from virtscale import cluster, description, founding, publishers, standing
from virtscale.cluster import OwnCluster
from virtscale.description import Kept
from virtscale.hosts import added as hosts
from virtscale.hypervisors import Hypervisors
from virtscale.ports import Ports

Substrate = Literal["qemu", "test"]

_MEMORY_SHARE: Final = 0.25
"""Of the memory that is free, lent to guests: a guest of 96 MiB takes 193 with QEMU (docs/performance.md), and
half is left to everything else."""

MOST_SHIFT: Final = 40_000
"""The highest of the usual ports stays a port, with room for the guests above it."""

MOST_HOSTS: Final = 8
"""Private libvirt instances on one machine: their port ranges fit above the highest shift."""

PORTS_PER_HOST: Final = 500
"""A machine of 24 GiB holds some 130 guests of 96 MiB (docs/performance.md)."""

_PUSHED: Final = "haproxy_backend_.*"
"""The series that Prometheus pushes to the signal worker: what a pool's load is read from. The others it asks for."""

_AGAIN_SECONDS: Final = 5.0
_OPEN_SECONDS: Final = 30.0  # how long the intake may take to open
_OPEN_PAUSE_SECONDS: Final = 0.1
_WATCH_SECONDS: Final = 0.25  # how often new publishers and hosts are looked for
MOST_ARRIVALS: Final = 64

log = logging.getLogger("virtscale.world")


class World:
    """The parts of one installation, running, and the description by which the workers find them."""

    def __init__(
        self,
        directory: Path,
        ports: Ports,
        substrate: Substrate,
        say: Callable[[str], None],
        *,
        own_hosts: int = 1,
        memory_mib: int | None = None,
        permit_seconds: float | None = None,
        ceph: bool = False,
        movable_clock: bool = False,
    ) -> None:
        """`own_hosts` private hypervisors, each lending `memory_mib` to guests: without it, their share of what is free.

        `permit_seconds` other than what the house has: with 0 the workers write without the sealer's permit, and it need not
        run. With `ceph` there is a cluster of its own for disks of kept VMs, and with `movable_clock` a new house is one for trying
        things out.
        """
        self._movable_clock = movable_clock
        self._ceph = ceph
        self._permit_seconds = permit_seconds
        self.directory = directory.resolve()
        self._own_hosts = tuple(f"h{number + 1}" for number in range(own_hosts))
        self._memory_mib = memory_mib
        self._ports = ports
        self._substrate: Substrate = substrate
        self._say = say
        self._stack = AsyncExitStack()
        self._publishers: tuple[Permit, ...] = ()
        self._added: tuple[HostPlace, ...] = ()
        self.sink = MailSink(self.directory / "mail", ports.smtp, self._on_mail)
        self._private = short_directory(self.directory)
        self._hypervisors = Hypervisors(self._private, self._own_hosts, say)
        self.arrivals: asyncio.Queue[HostPlace] = asyncio.Queue(MOST_ARRIVALS)
        """Hosts that were added while we run and that the bus knows: each wants a waker."""
        self.bus: BusServer
        self.balancer: Balancer
        self.metrics: Metrics
        self.cluster: OwnCluster
        self.house: House

    async def __aenter__(self) -> Self:
        """Every part answers; what cannot start is said in one sentence (`LabError`), and nothing stays behind."""
        try:
            await self._start()
        except BaseException:  # also on Ctrl-C: what was started must not outlive us
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Everything that was started is gone, guests first; the ledger and the views stay."""
        await self._stack.aclose()

    @property
    def hypervisors(self) -> dict[str, Hypervisor]:
        """The private hypervisors that run, by host; none with the test substrate."""
        return self._hypervisors.running

    @property
    def hypervisor(self) -> Hypervisor | None:
        """The first host's."""
        return self.hypervisors.get(self._own_hosts[0])

    async def connect(self, name: str) -> Bus:
        """A connection to the bus as one of its users."""
        return await connect_as(self.house, name, log.warning)

    async def enact(self, contracts: Contracts) -> None:
        """What the house was founded with is in force, once the intake is open and a gate answers. Safe to repeat."""
        bus = await self.connect("operator")
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                while True:
                    try:
                        await founding.enact(self.house, bus, contracts, self._say)
                        return
                    except UnansweredError:
                        await asyncio.sleep(_OPEN_PAUSE_SECONDS)
        finally:
            await bus.close()

    async def watch(self) -> None:
        """Publishers and hosts that are added while we run are known to the bus a moment later, removed ones no more."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            outsiders = publishers.all_of(self.directory)
            added = hosts.all_of(self.directory)
            if (outsiders, added) == (self._publishers, self._added):
                continue
            places = (*self.house.hosts[: len(self._own_hosts)], *added)
            try:
                await self.bus.reload(self._users(places, outsiders))
            except LabError as error:  # the bus is restarting, perhaps: it is asked again
                self._say(f"the bus does not know all publishers and hosts yet: {error}")
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            if outsiders != self._publishers:
                self._say(f"the bus knows {len(outsiders)} publishers")
            await self._welcome(places)
            self._publishers, self._added = outsiders, added

    async def _welcome(self, places: tuple[HostPlace, ...]) -> None:
        """The house has these hosts, and those that are new to it want a waker."""
        former = set(self.house.hosts)
        if places == self.house.hosts:
            return
        self.house = msgspec.structs.replace(self.house, hosts=places)
        description.write(self.house)
        for place in places:
            if place not in former:
                self._say(f"host {place.name} was added: {place.uri}")
                await self.arrivals.put(place)
        for place in former - set(places):
            self._say(f"host {place.name} was taken out of the house")

    async def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        # Before anything else: two installations on one ledger would each acknowledge what the other overwrites.
        self._stack.enter_context(hold(self.directory / "up.lock", f"The house {self.directory} is up"))
        intent.require_whole(self.directory)
        chosen = description.kept(self.directory, permit_seconds=self._permit_seconds, own_ceph=self._ceph)
        self._check()
        self._added = hosts.all_of(self.directory)
        if self._movable_clock:
            chosen = description.with_movable_clock(self.directory, chosen)
        self.house = self._house(chosen)
        self._warn_of_clock()
        founding.found(self.house, clock_of(self.house.clock).now())
        await self._start_bus()
        if cluster.is_own(self.directory, self.house.ceph):
            self._begin_cluster()
        if self._substrate == "qemu":
            await self._start_hypervisors()
        await self._start_balancer()
        await self._start_metrics()
        if cluster.is_own(self.directory, self.house.ceph):
            await self.cluster.ready()
        if description.has_own_alertmanager(self.house):
            await self._start_alertmanager()
        await self.sink.start()
        self._stack.push_async_callback(self.sink.stop)
        self._say(f"mail sink on {LOOPBACK}:{self._ports.smtp}")
        description.write(self.house)

    def _warn_of_clock(self) -> None:
        if self.house.clock:
            now = clock_of(self.house.clock).now()
            self._say(
                f"THIS HOUSE IS FOR TRYING OUT: it says that it is {now:%Y-%m-%d %H:%M} UTC, and `virtscale clock ahead 5d` makes it "
                "later. Nobody's work belongs here."
            )

    def _check(self) -> None:
        self._ports.require_free()
        require_machine(self.directory, self._substrate)

    def _house(self, chosen: Kept) -> House:
        return description.describe(
            self.directory,
            self._ports,
            str(self._private / "templates"),
            (*self._own_places(), *self._added),
            chosen,
        )

    def _own_places(self) -> Iterator[HostPlace]:
        share = int(_available_mib() * _MEMORY_SHARE) // len(self._own_hosts)
        for number, name in enumerate(self._own_hosts):
            yield HostPlace(
                name=name,
                uri=self._test_uri(name) if self._substrate == "test" else self._hypervisors.uri(name),
                substrate="test" if self._substrate == "test" else "tcg",
                memory_mib=self._memory_mib or share,
                first_port=self._ports.guests + number * PORTS_PER_HOST,
                ports=PORTS_PER_HOST,
                volumes="" if self._substrate == "test" else self._hypervisors.volumes(name),
            )

    def _test_uri(self, name: str) -> str:
        """`test:///default` is one host for the whole process; a description of its own makes another one."""
        if name == self._own_hosts[0]:
            return "test:///default"
        path = self.directory / f"{name}.test.xml"
        path.write_text("<node/>\n")
        return f"test://{path}"

    async def _start_bus(self) -> None:
        self._publishers = publishers.all_of(self.directory)
        await standing.make_way(self.directory)
        self.bus = BusServer(
            self.directory / "bus",
            self._ports.bus,
            self._users(self.house.hosts, self._publishers),
            keep=True,
            on_change=self._changed,
        )
        await self.bus.start()
        self._stack.push_async_callback(self.bus.stop)
        bus = await self.connect("admin")
        try:
            await standing.stand(self.house, bus, self._say)
            self._say(f"bus on {self.house.bus_url}, ledger at sequence {await bus.last()}")
        finally:
            await bus.close()

    def _users(self, places: Iterable[HostPlace], outsiders: Iterable[Permit]) -> tuple[BusUser, ...]:
        own = (*workers([host.name for host in places]), reader("reader"), operator(), admin())
        return tuple(_user(self.house.keys, permit) for permit in (*own, *outsiders))

    def _begin_cluster(self) -> None:
        """Before the hypervisors, so that it is gone after their guests."""
        self.cluster = OwnCluster(self.directory, self._say, self._changed)
        self._stack.push_async_callback(self.cluster.stop)
        self.cluster.begin()

    async def _start_hypervisors(self) -> None:
        self._stack.push_async_callback(self._hypervisors.stop)
        runs_on = await self._hypervisors.start(Path(self.house.templates), self._changed)
        own = len(self._own_hosts)
        places = [msgspec.structs.replace(place, substrate=runs_on) for place in self.house.hosts[:own]]
        self.house = msgspec.structs.replace(self.house, hosts=(*places, *self.house.hosts[own:]))

    async def _start_balancer(self) -> None:
        frontends = self._frontends()
        self.balancer = Balancer(
            self.directory / "haproxy",
            frontends,
            self._ports.balancer_metrics,
            keep=True,
            on_change=self._changed,
        )
        self._write_base()
        await self.balancer.start()
        self._stack.push_async_callback(self.balancer.stop)
        for frontend in frontends:
            self._say(
                f"load balancer for {frontend.org}/{frontend.pool} on http://{LOOPBACK}:{frontend.port}/"
            )

    def _frontends(self) -> list[Frontend]:
        texts = [path.read_text() for path in sorted(Path(self.house.pools).glob("*.toml"))]
        pools = [pool for pool in map(read_pool, texts) if pool.kind == "scaled"]
        return [
            Frontend(pool.org, pool.name, self._ports.traffic + number) for number, pool in enumerate(pools)
        ]

    def _write_base(self) -> None:
        base = Path(self.house.balancer_base)
        base.parent.mkdir(parents=True, exist_ok=True)
        base.write_text(self.balancer.base_config({}))

    async def _start_metrics(self) -> None:
        targets = [
            Target("haproxy", self.balancer.metrics_target),
            Target("virtscale", f"{LOOPBACK}:{self._ports.metrics}"),
        ]
        self.metrics = Metrics(
            self.directory / "prometheus",
            self._ports.prometheus,
            targets,
            keep=True,
            on_change=self._changed,
            push=Push(f"http://{self.house.remote_write}/api/v1/write", _PUSHED),
        )
        await self.metrics.start()
        self._stack.push_async_callback(self.metrics.stop)
        self._say(f"Prometheus on {self.metrics.url}")

    async def _start_alertmanager(self) -> None:
        alertmanager = Alertmanager(
            self.directory / "alertmanager", self._ports.alertmanager, keep=True, on_change=self._changed
        )
        await alertmanager.start()
        self._stack.push_async_callback(alertmanager.stop)
        self._say(f"Alertmanager on {alertmanager.url}")

    def _changed(self, name: str, text: str) -> None:
        self._say(f"{name}: {text}")

    def _on_mail(self, mail: Mail) -> None:
        self._say(f"mail to {', '.join(mail.recipients)}: {mail.subject} ({mail.file})")


@asynccontextmanager
async def world(
    directory: Path, ports: Ports, *, substrate: Substrate = "qemu", say: Callable[[str], None] = log.info
) -> AsyncGenerator[World]:
    """A running world, gone when the block ends."""
    async with World(directory, ports, substrate, say) as running:
        yield running


def require_machine(directory: Path, substrate: Substrate) -> None:
    """Raise `LabError` with a sentence for each thing that the machine lacks; the test substrate needs room alone."""
    found = (doctor.disk(directory),) if substrate == "test" else doctor.findings(directory)
    needed = [finding for finding in found if finding is not None and finding.needed]
    if needed:
        code = needed[0].code if len(needed) == 1 else "lab.machine-lacks"
        raise LabError(code, "\n".join(finding.sentence for finding in needed))


def _user(directory: str, permit: Permit) -> BusUser:
    key = keys.create(keys.path_of(directory, permit.name))
    return BusUser(permit.name, key, permit.publish, permit.subscribe, permit.allow_responses)


def _available_mib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise LabError("lab.memory-unknown", "/proc/meminfo does not say how much memory is available.")
