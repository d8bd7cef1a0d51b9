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
    state: DomainState = "off"
    boot: int = 0
    """How often its guest has booted."""
    answers_at: float = 0.0
    """From this loop time on the guest answers while it runs; infinite for one that never does."""
    stray: bool = False
    """It runs because somebody outside of Virtscale woke it."""
    resumed: "list[asyncio.Future[None]]" = field(default_factory=list)
    """Connections that wait in its socket's queue until it runs."""

    @property
    def boot_id(self) -> str:
        """What the guest says of its boot."""
        return f"{self.vm}-boot-{self.boot}"


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
