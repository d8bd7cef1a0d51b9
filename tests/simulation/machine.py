"""One domain as it really is, and who must see what becomes of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal, Protocol

from schemas.capacity import Size
from services.waker.port import DomainState, HypervisorError

By = Literal["waker", "fault"]


@dataclass(slots=True, eq=False)
class Machine:
    """One domain and its guest, as they really are."""

    name: str
    org: str
    pool: str
    vm: str
    size: Size
    host: str
    uuid: str
    address: str
    order: str = ""
    """What it was defined for last, while it was off."""
    state: DomainState = "off"
    boot: int = 0
    """How often a guest of this name has booted on its host, under this domain or a former one."""
    answers_at: float = 0.0
    """From this loop time on the guest answers while it runs; infinite for one that never does."""
    asleep_at: float | None = None
    """The loop time at which its guest's clock stopped; None while it runs or is off."""
    behind_seconds: float = 0.0
    """How far its guest's clock is behind: as long as it slept, until somebody sets it."""
    slept_as: int | None = None
    """Which boot fell asleep, for a guest that was woken since its last start; None for one that was started cold."""
    refreshed: bool = False
    """Its entropy is fresh, and its clock was set, since it was woken last."""
    by_fault: bool = False
    """Somebody outside of Virtscale was the last to wake it."""
    stray: bool = False
    """It runs because somebody outside of Virtscale woke it."""
    resumed: "list[asyncio.Future[None]]" = field(default_factory=list)
    """Connections that wait in its socket's queue until it runs."""

    def sleeps(self, at: float) -> None:
        """Its guest's clock stands still; one that sleeps already sleeps on."""
        if self.asleep_at is None:
            self.asleep_at = at

    def wakes(self, at: float) -> None:
        """It goes on where it slept: with the time of then, and with the randomness of then."""
        self.behind_seconds += at - (at if self.asleep_at is None else self.asleep_at)
        self.asleep_at, self.slept_as, self.refreshed = None, self.boot, False

    def starts(self) -> None:
        """It is another boot, and its clock is its host's."""
        self.boot += 1
        self.behind_seconds, self.asleep_at = 0.0, None

    @property
    def boot_id(self) -> str:
        """What the guest says of its boot: no two boots ever say the same."""
        return f"{self.vm}-boot-{self.boot}-{self.host}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A waker asked something of a domain: under which reservation, when, how far it had read the ledger, in which life."""

    reservation: str | None
    at: float
    read_seq: int
    life: int


class TemplateMissingError(HypervisorError):
    """There is no such template, and there will be none."""

    code = "TemplateMissing"


class Observer(Protocol):
    """Whoever must see everything that really happens."""

    def asked(self, name: str, kind: str, host: str) -> Asked:
        """The waker of a host asks something of a domain; under which reservation, and what it had read by then."""
        ...

    def changed(self, machine: Machine, old: DomainState, by: By, why: str, asked: Asked | None) -> None:
        """A domain is in another state now."""
        ...

    def breaks(self, sentence: str, *, ends: bool = True) -> None:
        """A law is broken."""
        ...

    def stored_last(self) -> int:
        """The ledger's last sequence."""
        ...
