"""A whole installation on one machine, out of the lab's parts: for `virtscale up`, and for tests that need it all."""

import asyncio
import datetime as dt
import logging
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import msgspec

from events import keys
from events.bus.entrance import connect_as
from events.bus.permissions import Permit, admin, operator, reader, workers
from events.bus.port import Bus, UnansweredError
from events.bus.streams import establish
from events.lock import hold
from lab import accelerator, doctor, guest, template
from lab.balancer import Balancer, Frontend
from lab.bus import BusServer, BusUser
from lab.errors import LabError
from lab.hypervisor import Hypervisor, own, short_directory
from lab.mail import Mail, MailSink
from lab.metrics import Metrics, Target
from lab.ports import LOOPBACK, free_ports, require_free
from projections.contracts.fold import Contracts
from schemas.house import FILE, HostPlace, House
from schemas.pool import read as read_pool
from virtscale import founding, publishers

Substrate = Literal["qemu", "test"]

_MEMORY_SHARE: Final = 0.25
"""Of the memory that is free, lent to guests: a guest of 96 MiB takes 193 with QEMU (docs/performance.md), and
half is left to everything else."""

MOST_SHIFT: Final = 40_000
"""The highest of the usual ports stays a port, with room for the guests above it."""

_AGAIN_SECONDS: Final = 5.0
_OPEN_SECONDS: Final = 30.0  # how long the intake may take to open
_OPEN_PAUSE_SECONDS: Final = 0.1
_PUBLISHERS_SECONDS: Final = 0.25  # how often new publishers are looked for

log = logging.getLogger("virtscale.world")


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of one installation; `guests` is the first of as many as there are VMs."""

    bus: int
    traffic: int
    balancer_metrics: int
    prometheus: int
    smtp: int
    metrics: int
    guests: int

    @classmethod
    def usual(cls, shift: int = 0) -> Self:
        """The ports that the documents speak of, each higher by `shift`: a second house stands beside the first."""
        return cls(*(port + shift for port in (14222, 18080, 18404, 19090, 10025, 19100, 21000)))

    @classmethod
    def free(cls) -> Self:
        """Ports that are free now; the guests' are a range that the kernel does not hand out."""
        return cls(*free_ports(6), guests=22000 + os.getpid() % 8000)

    def require_free(self) -> None:
        """Raise `lab.port-taken` for the first port that somebody has; better before anything is started."""
        for port, wanted_by in (
            (self.bus, "the bus"),
            (self.traffic, "the load balancer"),
            (self.balancer_metrics, "the load balancer's metrics"),
            (self.prometheus, "Prometheus"),
            (self.smtp, "the mail sink"),
            (self.metrics, "the workers' metrics"),
        ):
            require_free(port, wanted_by, instead="move all with `virtscale up --shift-ports 100`")


class World:
    """The parts of one installation, running, and the description by which the workers find them."""

    def __init__(
        self, directory: Path, ports: Ports, substrate: Substrate, say: Callable[[str], None]
    ) -> None:
        self.directory = directory.resolve()
        self._ports = ports
        self._substrate: Substrate = substrate
        self._say = say
        self._stack = AsyncExitStack()
        self._users: tuple[BusUser, ...] = ()
        self._publishers: tuple[Permit, ...] = ()
        self.sink = MailSink(self.directory / "mail", ports.smtp, self._on_mail)
        self.hypervisor: Hypervisor | None = None
        self.bus: BusServer
        self.balancer: Balancer
        self.metrics: Metrics
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

    async def watch_publishers(self) -> None:
        """Publishers that are added while we run may publish a moment later."""
        while True:
            await asyncio.sleep(_PUBLISHERS_SECONDS)
            present = publishers.all_of(self.directory)
            if present == self._publishers:
                continue
            try:
                await self.bus.reload((*self._users, *(_user(self.house.keys, permit) for permit in present)))
            except LabError as error:  # the bus is restarting, perhaps: it is asked again
                self._say(f"the bus does not know all publishers yet: {error}")
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            self._publishers = present
            self._say(f"the bus knows {len(present)} publishers")

    async def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        # Before anything else: two installations on one ledger would each acknowledge what the other overwrites.
        self._stack.enter_context(hold(self.directory / "up.lock", f"The house {self.directory} is up"))
        self._check()
        private = short_directory(self.directory)
        self.house = self._house(private)
        founding.found(self.house, dt.datetime.now(dt.UTC))
        await self._start_bus()
        if self._substrate == "qemu":
            await self._start_hypervisor(private)
        await self._start_balancer()
        await self._start_metrics()
        await self.sink.start()
        self._stack.push_async_callback(self.sink.stop)
        self._say(f"mail sink on {LOOPBACK}:{self._ports.smtp}")
        self._write_house()

    def _check(self) -> None:
        self._ports.require_free()
        require_machine(self.directory, self._substrate)

    def _house(self, private: Path) -> House:
        here, ports = self.directory, self._ports
        uri = "test:///default" if self._substrate == "test" else Hypervisor(private).uri
        return House(
            directory=str(here),
            bus_url=f"nats://{LOOPBACK}:{ports.bus}",
            keys=str(here / "keys"),
            signing_keys=str(here / "signing"),
            contracts=str(here / "contracts"),
            pools=str(here / "pools"),
            templates=str(private / "templates"),
            vault=str(here / "vault"),
            hosts=(
                HostPlace(
                    name="h1",
                    uri=uri,
                    substrate="test" if self._substrate == "test" else "tcg",
                    memory_mib=int(_available_mib() * _MEMORY_SHARE),
                    first_port=ports.guests,
                ),
            ),
            balancer_socket=str(here / "haproxy" / "haproxy.sock"),
            balancer_config=str(here / "haproxy" / "haproxy.cfg"),
            balancer_base=str(here / "haproxy" / "base.cfg"),
            smtp_host=LOOPBACK,
            smtp_port=ports.smtp,
            prometheus_url=f"http://{LOOPBACK}:{ports.prometheus}",
            metrics_port=ports.metrics,
        )

    def _write_house(self) -> None:
        draft = self.directory / "house.draft"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(self.house)))
        draft.replace(self.directory / FILE)

    async def _start_bus(self) -> None:
        permits = (*workers([host.name for host in self.house.hosts]), reader("reader"), operator(), admin())
        self._users = tuple(_user(self.house.keys, permit) for permit in permits)
        self._publishers = publishers.all_of(self.directory)
        outsiders = tuple(_user(self.house.keys, permit) for permit in self._publishers)
        self.bus = BusServer(
            self.directory / "bus",
            self._ports.bus,
            (*self._users, *outsiders),
            keep=True,
            on_change=self._changed,
        )
        await self.bus.start()
        self._stack.push_async_callback(self.bus.stop)
        bus = await self.connect("admin")
        try:
            await establish(bus)
            self._say(f"bus on {self.house.bus_url}, ledger at sequence {await bus.last()}")
        finally:
            await bus.close()

    async def _start_hypervisor(self, private: Path) -> None:
        self._say("guest image: building it once, then it is kept")
        image = await guest.build(guest.cache_directory())
        verdict = await accelerator.probe(image)
        self._say(f"guests run on {verdict.accelerator}: {verdict.reason}")
        host = msgspec.structs.replace(self.house.hosts[0], substrate=verdict.accelerator)
        self.house = msgspec.structs.replace(self.house, hosts=(host,))
        self.hypervisor = Hypervisor(private, keep=True, on_change=self._changed)
        await self.hypervisor.start()
        self._stack.push_async_callback(self._stop_hypervisor)
        consoles = private / "console"
        template.write(Path(self.house.templates) / "tiny", image, verdict.accelerator, own(consoles))
        self._say(f"libvirt of our own at {self.hypervisor.uri}")

    async def _stop_hypervisor(self) -> None:
        """Guests, libvirtd and the private directory are gone; the directory lies in memory where root runs us."""
        assert self.hypervisor is not None
        try:
            gone = await self.hypervisor.destroy_domains()
            self._say(f"{len(gone)} guests are gone")
        finally:
            try:
                await self.hypervisor.stop()
            finally:
                await asyncio.to_thread(shutil.rmtree, self.hypervisor.directory)

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
        pools = [read_pool(text) for text in texts]
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
            self.directory / "prometheus", self._ports.prometheus, targets, keep=True, on_change=self._changed
        )
        await self.metrics.start()
        self._stack.push_async_callback(self.metrics.stop)
        self._say(f"Prometheus on {self.metrics.url}")

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
