"""One world: the bus, the hosts, their neighbours, and every worker as it is, each in a process that may die."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from events.bus import permissions
from events.bus.ledger import Ledger
from events.bus.permissions import Permit
from events.bus.port import Outgoing
from events.envelope import Recorded, address
from events.fact import Fact
from events.ids import derive
from events.registry import NEWEST
from events.vault import Vault
from schemas.capacity import Capacity
from schemas.contract.terms import Contract, Override, fingerprint
from schemas.house import HostPlace
from schemas.names import PLATFORM
from schemas.pool import Pool
from services.announcer.port import backend_name
from services.announcer.worker import Announcer
from services.deleter.worker import Deleter
from services.forecaster.worker import Forecaster
from services.gate.worker import Gate
from services.notifier.worker import Notifier
from services.prober.worker import Prober
from services.signal.worker import Signal
from services.steward.worker import Steward
from services.storage.worker import Pauses, Storage
from services.waker.worker import Waker
from tests import papers
from tests.simulation.authority import Authority
from tests.simulation.batches import Batches
from tests.simulation.chance import Chance, Plan, Weather
from tests.simulation.clock import EPOCH, VirtualClock
from tests.simulation.clocks import BUS, Clocks
from tests.simulation.crews import again_and_again, endless, spread
from tests.simulation.disks import DiskHosts, at_once
from tests.simulation.foresight import Shelf
from tests.simulation.hypervisor import Host
from tests.simulation.link import Link
from tests.simulation.living import Living
from tests.simulation.load import Client
from tests.simulation.neighbours import Balancer, Gauges, Network, People, Relay
from tests.simulation.programs import Grim, Life, Program, Reach
from tests.simulation.sealing import Files, Sealing, needs
from tests.simulation.setting import MIB, SIZES, kept_pool, pool_of
from tests.simulation.shelf import Contents
from tests.simulation.shelf import Shelf as DiskShelf
from tests.simulation.silences import Hush
from tests.simulation.tenants import Tenant
from tests.simulation.truth import Truth
from tests.simulation.wire import Connection, Trouble, WatchedServer

DAY: Final = dt.timedelta(days=1)
LONG: Final = dt.timedelta(days=90)
"""How long a contract holds: an addendum needs 30 days' notice and a contract that lasts so long."""

MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Files of a world lie in memory where there is such a place: thousands of backups a second wait for no disk."""

Work = Callable[[Life, Ledger, Any, VirtualClock], Awaitable[None]]
"""A worker, given what its process has."""

ORGS: Final = ("acme", "zeta")


class World:
    """Everything that one seed makes, before anything has happened."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.weather = Weather()
        self.notes: list[tuple[float, str | Recorded]] = []
        self._loop = loop
        self.clocks = Clocks(loop, plan, self.chance, self.note, self.weather)
        self.truth = Truth(self.note, self.clocks.now, loop.time)
        chance = self.chance("setting")
        self.trouble = Trouble(plan, self.chance("wire"))
        self.server = WatchedServer(
            self.clocks.of(BUS).now_ns,
            dedup_seconds=600.0 if plan.dedup else 0.0,
            faults=self.trouble,
        )
        self.server.stored = self.truth.append
        disk = Files(loop.time, plan, self.chance("archive"))
        self.sealing = Sealing(loop.time, self.truth.breaks, disk) if plan.seals else None
        self.server.sealing = self.sealing
        if self.sealing is not None:
            self.trouble.sent = partial(self.sealing.sent, self.server)
        self.orgs = ORGS[: plan.orgs]
        self.pools = [
            pool_of(plan, org, name, chance, self.chance) for org in self.orgs for name in plan.pools
        ]
        for org in self.orgs:
            self._sign(org, chance)
        self.kept_pools = [self._kept_pool(org) for org in self.orgs] if plan.keeps else []
        self.hosts = [self._host(number, chance) for number in range(1, plan.hosts + 1)]
        self.signal: Signal | None = None
        self.forecaster: Forecaster | None = None
        """Of the life that began last."""
        self.memory_mib = chance.rng.choice((3072, 8192, 65536))
        self.balancer = Balancer(plan, self.chance("balancer"))
        self.relay = Relay(plan, self.chance("relay"))
        self.people = People({f"{org}-owner": f"owner@{org}.example" for org in self.orgs})
        self.gauges = Gauges(plan, self.chance("gauges"), self.clocks.now)
        self.shelf = Shelf(plan, self.chance("shelf"))
        self.living = Living(self) if plan.keeps else None
        self.hush = Hush(plan, self.chance("silences"), self.clocks.now)
        self.directory = TemporaryDirectory(prefix="vs-", dir=MEMORY) if plan.keeps else None
        """For backups, which are files, and the vault; whoever made the world cleans it up."""
        self.network = Network(self.hosts, plan, self.chance("network"), self.clocks.now)
        self.ledgers: dict[str, Ledger] = {}
        self.homes: dict[str, str] = {}
        """The program in which each worker lives."""
        self._watch()
        grim = self._grim()
        crashed = self.truth.breaks if self.sealing is None else self.sealing.crashed
        self.programs = [
            Program(
                name, main, grim, self.weather, note=self.note, crashed=crashed, reaching=self._reaching()
            )
            for name, main in self._mains().items()
        ]
        self.clients = [
            self._client(org, name)
            for org in (self.orgs if plan.pools else ())
            for name in ("shop", "operator")
        ]
        self.tenants = [
            Tenant(self._client(org, name, "tenant"))
            for org in (self.orgs if plan.keeps else ())
            for name in ("shop", "operator")
        ]
        rulers = [self._client(org, "operator", "authority") for org in (*self.orgs, PLATFORM)]
        keys = {papers.public_key(org): papers.signing_key(org) for org in (*self.orgs, PLATFORM)}
        self.authorities = (
            [Authority(client, self.truth, self.hosts, rulers[:-1], keys) for client in rulers]
            if plan.rule_seconds
            else []
        )

    def _watch(self) -> None:
        """The judge sees what it must."""
        self.trouble.breaks = self.truth.breaks
        self.truth.reading = self._reading
        self.truth.life = self._life
        self.truth.clock = lambda host: self.clocks.of(self.homes[f"waker-{host}"]).now()
        self.truth.clocks_step = self.plan.clock_step_seconds > 0
        self.truth.announcer = self._announcing
        self.truth.cut_at = lambda org, pool, vm: self.balancer.cut_at.get((backend_name(org, pool), vm), 0.0)
        self.truth.batches = Batches(lambda host: self.homes[f"waker-{host}"] in self.clocks.stepped)

    def chance(self, part: str) -> Chance:
        """A part's own stream of chance."""
        return Chance(self.plan.seed, part, self.weather)

    def note(self, what: str | Recorded) -> None:
        """One line of the trace, with the virtual time; an event becomes words when somebody reads the trace."""
        self.notes.append((self._loop.time(), what))

    # ------------------------------------------------------------------------------------------------- the setting

    def _sign(self, org: str, chance: Chance) -> None:
        """The org's contract is in force; in some worlds an addendum has its day while the world is at work."""
        middle = dt.timedelta(seconds=self.plan.chaos_seconds // 2)
        ends = chance.rng.choice((LONG, LONG, LONG, middle))
        block_bytes = 1 << 30 if self.plan.keeps else 0
        quota = Capacity(vcpu=chance.rng.choice((4, 6, 9)), memory_mib=1 << 16, block_bytes=block_bytes)
        contract = papers.terms(
            org,
            quota=quota,
            allowance_bp=chance.rng.choice((500, 1000, 2000)),
            warm_reserve_bp=2000 if self.plan.foresees else 500,
            valid_from=EPOCH - DAY,
            valid_until=EPOCH + ends,
            pools={"web": Override(drain_seconds=2, cooldown_seconds=10)} if self.plan.overrides else {},
        )
        vcpu = chance.rng.choice((None, None, None, 2, 5, 12))
        changed = None
        if vcpu is not None:
            quota = Capacity(vcpu=vcpu, memory_mib=1 << 16, block_bytes=block_bytes)
            changed = papers.addendum(contract, EPOCH + middle, quota=quota, valid_until=EPOCH + LONG)
        self._file(org, contract, changed)

    def _file(self, org: str, contract: Contract, changed: Contract | None) -> None:
        """The ledger begins with these documents."""
        sound = self.truth.rulings.sound
        sound |= {papers.public_key(PLATFORM), papers.public_key(org)}
        sound |= {fingerprint(papers.canonical(one)) for one in (contract, changed) if one is not None}
        for place, fact in enumerate(papers.past(contract, changed, EPOCH)):
            self._write(fact, derive("past", org, place))

    def _write(self, fact: Fact, name: str) -> None:
        writer = NEWEST[type(fact)].writer
        event = address(fact, writer=writer, id=name, time=EPOCH, cause=None, correlation=name)
        self.server.put([Outgoing(event.subject, event.id, event.payload)], batch=False)

    def _host(self, number: int, chance: Chance) -> Host:
        name = f"h{number}"
        host = self.truth.hosts[name] = Host(name, self.plan, self.chance(name), self.truth)
        if chance.strikes(self.plan.template_missing):
            host.missing_templates.add("tiny")
        if self.plan.stores:
            host.disk_templates.add("tiny")
        if self.plan.keeps:
            template = {"tiny": Contents(16 * MIB, {0: "T"})}
            host.disks.keep_on(DiskShelf(name, self.clocks.of(BUS), template))
        return host

    def _kept_pool(self, org: str) -> Pool:
        """The org's pool that keeps VMs."""
        return kept_pool(org, size=self.chance(f"kept {org}").rng.choice(SIZES[:2]))

    def _grim(self) -> Grim:
        """Who decides who dies."""
        return Grim(self.plan, self.chance("grim"))

    def _reaching(self) -> Callable[[Life, Any], Any]:
        """How lives reach what is outside of them."""
        return Reach

    def _client(self, org: str, name: str, part: str = "client") -> Client:
        permit = permissions.operator() if name == "operator" else permissions.publisher(org, name)
        chance = self.chance(f"{part} {org} {name}")
        bus = Connection(self.server, permit, self.plan, chance)
        return Client(
            org, name, bus, tuple(pool.name for pool in self.pools if pool.org == org), chance, self.plan
        )

    # ------------------------------------------------------------------------------------------------ the programs

    def _workers(self) -> dict[str, tuple[Permit, Work]]:
        """Every worker by name: what the bus permits it, and what it does."""
        return {
            "signal": (permissions.worker("signal"), self._signal),
            "gate-1": (permissions.worker("gate"), lambda *parts: self._gate("gate-1", *parts)),
            "gate-2": (permissions.worker("gate"), lambda *parts: self._gate("gate-2", *parts)),
            **{
                f"waker-{host.name}": (
                    permissions.worker("waker", host.name),
                    lambda *parts, host=host: self._waker(host, *parts),
                )
                for host in self.hosts
            },
            "prober": (permissions.worker("prober"), self._prober),
            "announcer": (permissions.worker("announcer"), self._announcer),
            "notifier": (permissions.worker("notifier"), self._notifier),
            **(
                {"forecaster": (permissions.worker("forecaster"), self._forecaster)}
                if self.plan.foresees
                else {}
            ),
            **({"storage": (permissions.worker("storage"), self._storage)} if self.plan.stores else {}),
            **(
                {
                    "steward": (permissions.worker("steward"), self._steward),
                    "deleter": (permissions.worker("deleter"), self._deleter),
                }
                if self.plan.keeps
                else {}
            ),
            **({"sealer": (permissions.worker("sealer"), self._sealer)} if self.sealing is not None else {}),
        }

    def _mains(self) -> dict[str, Callable[[Life], Awaitable[None]]]:
        """What each program runs: one worker, or a crew of several, as the plan says."""
        workers = self._workers()
        if not self.plan.crews:
            self.homes = {name: name for name in workers}
            return {
                name: lambda life, name=name, one=one: self._live(life, {name: one})
                for name, one in workers.items()
            }
        crews = spread(tuple(workers), self.plan.crews, self.chance("crews"))
        self.homes = {name: f"crew-{number}" for number, crew in enumerate(crews, 1) for name in crew}
        return {
            f"crew-{number}": lambda life, crew=crew: self._live(life, {name: workers[name] for name in crew})
            for number, crew in enumerate(crews, 1)
        }

    async def _live(self, life: Life, workers: dict[str, tuple[Permit, Work]]) -> None:
        """A process as `events.bus.alone` or `virtscale.crew` runs it: the folds are made, then the reading begins.

        A worker alone reads over its own connection; a crew has one reader for all, and a connection for each.
        """
        name = life.program.name
        clock = self.clocks.of(name)
        buses = {worker: self._connect(life, worker, permit) for worker, (permit, _) in workers.items()}
        reader = buses.get(name) or self._connect(life, name, permissions.reader("reader"))
        ledger = Ledger(reader)
        alone = self.sealing is not None and name == "sealer"  # it has no fold, and therefore no reader
        if not alone:
            self.ledgers[name] = ledger
        working = [work(life, ledger, buses[worker], clock) for worker, (_, work) in workers.items()]
        async with asyncio.TaskGroup() as parts:
            for one in working:
                parts.create_task(endless(one))
            if not alone:
                parts.create_task(ledger.follow())

    def _connect(self, life: Life, name: str, permit: Permit) -> Any:
        """The life's access to the bus, in one worker's name."""
        seconds = needs(permit, seals=self.plan.seals)
        chance = self.chance(name)
        bus = Connection(
            self.server, permit, self.plan, chance, on_fault=self._on_fault, permit_seconds=seconds
        )
        life.ends.append(bus.cut)
        return life.reach(bus)

    def read_by(self, program: str) -> int:
        """How far a program has read; 0 before it has begun."""
        if program == "sealer" and self.sealing is not None:
            return self.sealing.seq
        ledger = self.ledgers.get(program)
        return ledger.seq if ledger is not None else 0

    def _reading(self, host: str) -> int:
        return self.read_by(self.homes[f"waker-{host}"])

    def _life(self, host: str) -> int:
        home = self.homes[f"waker-{host}"]
        return next(program.lives for program in self.programs if program.name == home)

    def _announcing(self) -> int:
        """The life of the announcer that reads on as events come; 0 while it is dead, or reads what is past."""
        home = self.homes["announcer"]
        program = next(program for program in self.programs if program.name == home)
        ledger = self.ledgers.get(home)
        return (
            program.lives if program.life is not None and ledger is not None and ledger.live.is_set() else 0
        )

    def _on_fault(self, text: str) -> None:
        self.note(text)
        if "was not answered:" in text:
            self.truth.breaks(text)

    def _signal(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        self.signal = Signal(ledger, bus, clock, life.reach(self.gauges))
        return self.signal.work()

    def _gate(self, name: str, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        pools = [*self.pools, *self.kept_pools]
        return Gate(ledger, bus, clock, f"{name}-{life.number}").work(pools)

    def _waker(
        self, host: Host, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock
    ) -> Awaitable[None]:
        link = Link(host)
        life.ends.append(link.close)
        place = HostPlace(
            name=host.name,
            uri=f"sim:///{host.name}",
            substrate="test",
            memory_mib=self.memory_mib,
            first_port=1,
        )
        return again_and_again(lambda: Waker(ledger, bus, clock, life.reach(link), place))

    def _prober(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        return Prober(ledger, bus, clock, life.reach(self.network)).work()

    def _announcer(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        return Announcer(ledger, bus, clock, life.reach(self.balancer)).work()

    def _notifier(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        relay, people = life.reach(self.relay), life.reach(self.people)
        return Notifier(ledger, bus, clock, relay, people, digest_seconds=self.plan.digest_seconds).work()

    def _forecaster(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        self.forecaster = Forecaster(ledger, bus, clock, life.reach(self.shelf))
        return self.forecaster.work()

    def _storage(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        hosts = DiskHosts(self.hosts, life.reach)
        # What a former life asked is over when a disk is looked at: here, those who wait for a lock have an order.
        backups = f"{self.directory.name}/backups" if self.directory is not None else ""
        return Storage(ledger, bus, clock, hosts, Pauses(0.1, 0.0), backups=backups, calls=at_once).work()

    def _steward(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        del life
        return Steward(ledger, bus, clock).work()

    def _deleter(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        assert self.directory is not None
        vault = Vault(f"{self.directory.name}/vault")
        return Deleter(ledger, bus, clock, life.reach(self.hush), vault).work()

    def _sealer(self, life: Life, ledger: Ledger, bus: Any, clock: VirtualClock) -> Awaitable[None]:
        del ledger
        assert self.sealing is not None
        return self.sealing.sealer(life.reach, bus, clock).work()
