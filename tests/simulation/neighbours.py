"""Who else is there: guests, a load balancer, a mail relay, the vault and the metrics, each with its moods."""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from services.announcer.port import BalancerError, Server, ServerState
from services.notifier.port import Mail, RelayError
from services.prober.port import Pulse
from services.signal.port import Measurement
from tests.simulation.chance import Chance, Plan
from tests.simulation.clock import EPOCH, pause
from tests.simulation.hypervisor import Host, Machine

SAMPLE_SECONDS: Final = 5.0


class Network:
    """The way to guests; `services.prober.port.Guests` says what it promises."""

    def __init__(
        self, hosts: Iterable[Host], plan: Plan, chance: Chance, now: Callable[[], dt.datetime]
    ) -> None:
        """`now` is the true time, which the hosts' clocks have."""
        self._hosts = tuple(hosts)
        self._now = now
        self._plan = plan
        self._chance = chance

    async def probe(self, address: str, timeout_seconds: float) -> Pulse | None:
        """What the guest says; a paused one's socket takes the connection and says nothing until it runs."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_seconds
        lost = self._chance.strikes(self._plan.probe_lost)
        machine = self._at(address)
        if machine is None or machine.state not in {"running", "paused"}:
            await pause(0.001)
            return None
        if machine.state == "paused":
            resumed: asyncio.Future[None] = loop.create_future()
            machine.resumed.append(resumed)
            loop.call_later(timeout_seconds, _settle, resumed)
            await resumed
        answers_in = self._chance.seconds(0.001, 0.01)
        if lost or machine.state != "running" or max(loop.time(), machine.answers_at) + answers_in > ends_at:
            await pause(max(0.0, ends_at - loop.time()))
            return None
        await pause(max(0.0, machine.answers_at - loop.time()) + answers_in)
        if machine.state != "running" or machine.answers_at > loop.time():
            await pause(max(0.0, ends_at - loop.time()))
            return None
        clock_ms = round((self._now().timestamp() - machine.behind_seconds) * 1000)
        return Pulse(machine.boot_id, clock_ms if self._chance.rng.random() < 0.8 else None)

    def _at(self, address: str) -> Machine | None:
        return next(
            (one for host in self._hosts for one in host.machines.values() if one.address == address), None
        )


@dataclass(slots=True)
class Balancer:
    """A load balancer with a runtime side and a file; `services.announcer.port.Balancer`."""

    plan: Plan
    chance: Chance
    up: bool = True
    live: dict[tuple[str, str], Server] = field(default_factory=dict)
    kept: dict[tuple[str, str], Server] = field(default_factory=dict)
    cut_at: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """When sessions were last closed before their end, in the loop's time."""

    def restart(self) -> None:
        """It was killed: what it knows now is its file."""
        self.live = dict(self.kept)

    async def servers(self) -> Mapping[tuple[str, str], Server]:
        """Every server as it is now, with sessions that come and go."""
        await self._call("servers", lambda: None)
        for at, server in self.live.items():
            if server.state == "ready":
                sessions = self.chance.rng.randrange(4)
            else:
                sessions = max(0, server.sessions - self.chance.rng.randrange(2))
            self.live[at] = replace(server, sessions=sessions)
        return dict(self.live)

    async def add(self, backend: str, name: str, address: str) -> None:
        """The server exists, in maintenance unless it was there with this address."""

        def effect() -> None:
            known = self.live.get((backend, name))
            if known is None or known.address != address:
                self.live[backend, name] = Server(backend, name, address, "maint")

        await self._call("add", effect)

    async def set_state(self, backend: str, name: str, state: ServerState) -> None:
        """The server is in this state."""

        def effect() -> None:
            known = self.live.get((backend, name))
            if known is None:
                raise BalancerError(f"No such server: {backend}/{name}.")
            self.live[backend, name] = replace(known, state=state)

        await self._call("set_state", effect)

    async def cut(self, backend: str, name: str) -> int:
        """The sessions are closed."""
        cut: list[int] = []

        def effect() -> None:
            known = self.live.get((backend, name))
            if known is None:
                raise BalancerError(f"No such server: {backend}/{name}.")
            cut.append(known.sessions)
            if known.sessions:
                self.cut_at[backend, name] = asyncio.get_running_loop().time()
            self.live[backend, name] = replace(known, sessions=0)

        await self._call("cut", effect)
        return cut[0]

    async def remove(self, backend: str, name: str) -> bool:
        """The server is gone, unless it has sessions."""
        gone: list[bool] = []

        def effect() -> None:
            known = self.live.get((backend, name))
            if known is not None and (known.sessions or known.state != "maint"):
                gone.append(False)
                return
            self.live.pop((backend, name), None)
            gone.append(True)

        await self._call("remove", effect)
        return gone[0]

    async def keep(self, servers: Mapping[str, Mapping[str, str]]) -> None:
        """The file is replaced whole."""

        def effect() -> None:
            self.kept = {
                (backend, name): Server(backend, name, address, "ready")
                for backend, listed in servers.items()
                for name, address in listed.items()
            }

        await self._call("keep", effect, needs_it=False)

    async def _call(self, what: str, effect: object, *, needs_it: bool = True) -> None:
        assert callable(effect)
        await pause(self.chance.seconds(0.0002, 0.005))
        if needs_it and not self.up:
            raise BalancerError("The load balancer does not answer.")
        if self.chance.strikes(self.plan.balancer_fails):
            raise BalancerError(f"The load balancer did not answer to {what}.")
        if what in {"add", "set_state"} and self.chance.strikes(self.plan.balancer_refuses):
            raise BalancerError(f"The load balancer refuses {what}.", refused=True)
        silent = self.chance.strikes(self.plan.balancer_silent)
        effect()
        await pause(2.0 if silent else self.chance.seconds(0.0002, 0.002))
        if silent:
            raise BalancerError(f"The load balancer did not answer to {what} within 2 s.")


@dataclass(slots=True)
class Relay:
    """A mail relay that remembers what it took; `services.notifier.port.Relay`."""

    plan: Plan
    chance: Chance
    taken: dict[str, int] = field(default_factory=dict)
    """How often each Message-ID was taken."""

    async def send(self, mail: Mail, timeout_seconds: float) -> None:
        """The mail is taken, or not, or taken without a word."""
        await pause(self.chance.seconds(0.005, 0.3))
        if self.chance.strikes(self.plan.relay_temporary):
            raise RelayError("450 try again later", final=False)
        if self.chance.strikes(self.plan.relay_final):
            raise RelayError("550 no such mailbox", final=True)
        self.taken[mail.message_id] = self.taken.get(mail.message_id, 0) + 1
        if self.chance.strikes(self.plan.relay_silent):
            await pause(timeout_seconds)
            raise RelayError("no answer after the mail was sent", final=False)


@dataclass(slots=True)
class People:
    """The vault; `services.notifier.port.Contacts`."""

    addresses: dict[str, str] = field(default_factory=dict)

    def contact(self, person: str) -> str | None:
        """The address, as long as the person's key exists."""
        return self.addresses.get(person)

    def erase(self, person: str) -> bool:
        """The key is gone."""
        return self.addresses.pop(person, None) is not None


class Gauges:
    """A metrics store whose values come every five seconds; `services.signal.port.Metrics`."""

    def __init__(self, plan: Plan, chance: Chance, now: Callable[[], dt.datetime]) -> None:
        """`now` is the true time, which the metrics store's clock has."""
        self._plan = plan
        self._chance = chance
        self._now = now
        self.load = 0.0
        """The value of every query."""

    async def query(self, expression: str, timeout_seconds: float) -> Measurement | None:
        """The newest sample, or nothing."""
        await pause(self._chance.seconds(0.001, 0.05))
        if self._chance.strikes(self._plan.metrics_fail):
            await pause(timeout_seconds)
            return None
        now = self._now()
        return Measurement(self.load, now - (now - EPOCH) % dt.timedelta(seconds=SAMPLE_SECONDS))


def _settle(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
