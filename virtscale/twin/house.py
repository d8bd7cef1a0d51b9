"""All workers of one house on the bus in memory, under virtual time, with simulated parts around them."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from nacl.signing import SigningKey

from events.bus import permissions
from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus
from events.bus.memory_server import MemoryServer
from events.bus.permissions import Permit
from events.bus.port import Bus
from events.fold import Fold
from schemas.contract.document import Role, read
from schemas.contract.signing import sign
from schemas.house import HostPlace
from schemas.intake import RegisterKey, Submit
from schemas.names import PLATFORM
from schemas.pool import Pool
from services.announcer.worker import Announcer
from services.forecaster.worker import Forecaster
from services.gate.worker import Gate
from services.notifier.worker import Notifier
from services.prober.worker import Prober
from services.signal.worker import Signal
from services.waker.worker import Waker
from virtscale.ask import publish
from virtscale.twin.clock import VirtualClock
from virtscale.twin.hosts import SimulatedHost
from virtscale.twin.neighbours import Gauges, Memory, SimulatedBalancer, Sink

HOST: Final = "h1"


class TwinHouse:
    """A house whose parts are simulated; what its workers do, they do by their own code."""

    def __init__(
        self,
        clock: VirtualClock,
        pool: Pool,
        memory_mib: int,
        values: Mapping[str, Callable[[dt.datetime], float]],
    ) -> None:
        """`values` are the metrics' queries, each a function of time; the one host lends `memory_mib`."""
        self._clock = clock
        self._pool = pool
        self._place = HostPlace(
            name=HOST, uri=f"twin:///{HOST}", substrate="test", memory_mib=memory_mib, first_port=1
        )
        self.server = MemoryServer(clock.now_ns)
        self.host = SimulatedHost(HOST, clock)
        self.balancer = SimulatedBalancer()
        self.gauges = Gauges(clock, values)
        self.sink = Sink()

    def connect(self, permit: Permit) -> Bus:
        """A connection in somebody's name; nobody needs the sealer's permit, for there is none."""
        return MemoryBus(self.server, permit)

    @asynccontextmanager
    async def at_work(self, folds: Iterable[type[Fold]] = ()) -> AsyncGenerator[Ledger]:
        """The workers work while the block lasts; the ledger has these folds beside theirs."""
        ledger, clock = Ledger(self.connect(permissions.reader("reader"))), self._clock
        for kind in folds:
            ledger.fold(kind)

        def bus(name: str, host: str | None = None) -> Bus:
            return self.connect(permissions.worker(name, host))  # pyright: ignore[reportArgumentType]

        works = {
            "signal": Signal(ledger, bus("signal"), clock, self.gauges).work(),
            "gate": Gate(ledger, bus("gate"), clock, "twin").work([self._pool]),
            "waker": Waker(ledger, bus("waker", HOST), clock, self.host, self._place).work(),
            "prober": Prober(ledger, bus("prober"), clock, self.host).work(),
            "announcer": Announcer(ledger, bus("announcer"), clock, self.balancer).work(),
            "notifier": Notifier(ledger, bus("notifier"), clock, self.sink, self.sink).work(),
            "forecaster": Forecaster(ledger, bus("forecaster"), clock, Memory()).work(),
        }
        async with asyncio.TaskGroup() as parts:
            working = [parts.create_task(work, name=name) for name, work in works.items()]
            working.append(parts.create_task(ledger.follow(), name="ledger"))
            await ledger.live.wait()
            yield ledger
            for task in working:
                task.cancel()

    async def enact(self, contract: str) -> None:
        """The org's contract is in force, signed by keys that everybody may know: nothing here is worth a secret."""
        bus = self.connect(permissions.operator())
        org = self._pool.org
        document = read(contract.encode())
        sides: tuple[tuple[Role, str], ...] = (("provider", PLATFORM), ("org", org))
        for role, side in sides:
            key = signing_key(side)
            document = sign(document, role, key, self._clock.now())
            register = RegisterKey(key=f"twin-{side}", public_key=bytes(key.verify_key).hex(), wait=True)
            await publish(bus, side, register)
        await publish(bus, org, Submit(key="twin-contract", document=document, wait=True))


def signing_key(name: str) -> SigningKey:
    """The key of one side in the twin, the same in every run."""
    return SigningKey(hashlib.sha256(f"virtscale twin {name}".encode()).digest())
