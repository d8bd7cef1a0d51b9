"""A world in which nothing goes wrong but one thing: at one call of one worker to the outside, which is found by counting.

A story is told once undisturbed, and every call that its workers make is written down: to the bus, a host, a store, a mail relay.
Then it is told again for each of them, where the worker dies right before it or right after, where what was asked is done twice,
or where nobody answers. Nobody names the calls: a call that a worker learns to make tomorrow is disturbed tomorrow.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, get_args

from events.bus.port import Outgoing, UnansweredError
from schemas.capacity import Capacity
from services.deleter.port import SilenceError
from services.notifier.port import RelayError
from services.storage.errors import StorageError
from services.waker.port import HypervisorError
from tests import papers
from tests.simulation.chance import Chance, Plan, plan_of
from tests.simulation.clock import EPOCH
from tests.simulation.disks import DiskLink
from tests.simulation.link import Link
from tests.simulation.neighbours import Relay
from tests.simulation.programs import Grim, Life, Reach
from tests.simulation.shelves import ShelfLink
from tests.simulation.silences import Hush
from tests.simulation.wire import Connection
from tests.simulation.world import LONG, Work, World

Fate = Literal["killed before", "killed after", "done twice", "not answered"]

FATES: Final[tuple[Fate, ...]] = get_args(Fate)

LOOKS: Final = frozenset(
    {
        *("find", "contact", "kills"),
        *("connect", "domains", "state", "life", "watch", "look", "snapshots", "trashed", "source", "probe"),
        *(
            "last",
            "last_on",
            "read",
            "read_ahead",
            "store",
            "listed",
            "telemetry",
            "query",
            "servers",
            "close",
        ),
    }
)
"""Calls that change nothing: whoever dies at one has done nothing that he did not do at the call before."""

SILENT: Final[Mapping[type, Callable[[str], Exception]]] = {
    Link: lambda text: HypervisorError(text, silent=True),
    DiskLink: StorageError,
    ShelfLink: StorageError,
    Connection: UnansweredError,
    Relay: lambda text: RelayError(text, final=False),
    Hush: lambda text: SilenceError(text, lost=True),
}
"""What a port raises for a call that nobody answered."""

UNNEEDED: Final = ("gate-2", "announcer")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one worker."""

    program: str
    port: str
    method: str

    def __str__(self) -> str:
        return f"{self.program}: {self.port}.{self.method}"


@dataclass(slots=True)
class Script:
    """What is to happen to the call of this number; without one nothing does."""

    number: int = -1
    fate: Fate = "killed before"
    armed: bool = False
    """Calls are counted."""
    calls: list[Call] = field(default_factory=list[Call])
    struck: bool = False

    def comes(self, call: Call) -> bool:
        """The call is about to be made; whether it is the one."""
        if not self.armed:
            return False
        self.calls.append(call)
        struck = len(self.calls) - 1 == self.number
        self.struck = self.struck or struck
        return struck


class Stepped(Reach):
    """A life's access to something outside of it, with one call to which something happens."""

    def __init__(self, script: Script, life: Life, target: Any) -> None:
        super().__init__(life, target)
        self._script = script

    def _call(self, method: str, target: Callable[..., Any]) -> Any:
        passed = super()._call(method, target)
        if method in LOOKS:
            return passed
        script, life = self._script, self._life
        named = Call(life.program.name, type(self._target).__name__, method)

        async def call(*arguments: Any, **others: Any) -> Any:
            if _is_beside(arguments) or not script.comes(named):
                return await passed(*arguments, **others)
            if script.fate == "killed before":
                life.program.kill(f"before {method}")
                raise asyncio.CancelledError
            answer, error = await _tried(target, arguments, others)
            match script.fate:
                case "killed after":
                    life.program.kill(f"after {method}")
                    raise asyncio.CancelledError
                case "done twice":
                    await _tried(target, arguments, others)
                case "not answered" if type(self._target) in SILENT:
                    raise SILENT[type(self._target)](f"Nobody answered {method}.")
                case _:
                    pass
            if error is not None:
                raise error
            return answer

        return call


async def _tried(
    target: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, Exception | None]:
    try:
        return await target(*arguments, **named), None
    except Exception as error:  # noqa: BLE001 - whatever the port raises is what its caller is given
        return None, error


def _is_beside(arguments: tuple[Any, ...]) -> bool:
    """Whether it is a message beside the ledger, which any clock makes a worker send."""
    return any(isinstance(one, Outgoing) and not one.subject.startswith("vs.") for one in arguments)


class Patient(Grim):
    """Nobody dies but by the script."""

    def strikes(self, method: str) -> bool:
        """Never."""
        del method
        return False


class Stage(World):
    """A world for one story: one host, one gate, no weather."""

    def __init__(self, script: Script, seed: int, loop: asyncio.AbstractEventLoop) -> None:
        self.script = script
        super().__init__(self.plan_for(seed), loop)
        self.weather.calm = True

    @staticmethod
    def plan_for(seed: int) -> Plan:
        """What may happen by itself: nothing."""
        return calm(seed)

    def _sign(self, org: str, chance: Chance) -> None:
        """Room for all that a story needs, and no other day than today's."""
        del chance
        quota = Capacity(vcpu=9, memory_mib=1 << 16, block_bytes=1 << 30)
        self._file(org, papers.terms(org, quota=quota, valid_until=EPOCH + LONG), None)

    def _grim(self) -> Grim:
        return Patient(self.plan, self.chance("grim"))

    def _reaching(self) -> Callable[[Life, Any], Any]:
        return lambda life, target: Stepped(self.script, life, target)

    def _workers(self) -> dict[str, tuple[Any, Work]]:
        return {name: one for name, one in super()._workers().items() if name not in UNNEEDED}


def calm(seed: int) -> Plan:
    """A plan without any fault; even seeds have deduplication, odd ones do without."""
    plan = plan_of(seed, "short", powers=False)
    kept = {"chaos_seconds", "quiet_seconds", "boots", "seed"}
    still: dict[str, Any] = {
        one.name: 0.0
        for one in fields(plan)
        if isinstance(getattr(plan, one.name), float) and one.name not in kept
    }
    still |= {"hosts": 1, "orgs": 1, "pools": (), "crews": 0, "stores": True, "keeps": True}
    return replace(plan, **still)
