"""What the announcer asks of a load balancer; HAProxy answers it, and the simulation does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

ServerState = Literal["ready", "drain", "maint"]


class BalancerError(Exception):
    """The balancer said no or did not answer; `refused` when trying again cannot help."""

    code = "Balancer"

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Server:
    """One VM behind the balancer: in which backend, where, in what state, with how many open sessions."""

    backend: str
    name: str
    address: str
    state: ServerState
    sessions: int = 0


def backend_name(org: str, pool: str) -> str:
    """The backend of a pool."""
    return f"be_{org}_{pool}"


class Balancer(Protocol):
    """The runtime side of a load balancer. Every call ends in bounded time or raises `BalancerError`."""

    async def servers(self) -> Mapping[tuple[str, str], Server]:
        """Every server by backend and name, as the balancer has it now."""
        ...

    async def add(self, backend: str, name: str, address: str) -> None:
        """The server exists, in maintenance; safe to repeat. One with another address is replaced."""
        ...

    async def set_state(self, backend: str, name: str, state: ServerState) -> None:
        """The server takes new work (`ready`), only ends what it has (`drain`), or neither (`maint`)."""
        ...

    async def cut(self, backend: str, name: str) -> int:
        """Sessions that were still open are closed; how many."""
        ...

    async def remove(self, backend: str, name: str) -> bool:
        """The server is gone; False when it cannot go yet because connections are attached."""
        ...

    async def keep(self, servers: Mapping[str, Mapping[str, str]]) -> None:
        """The configuration file lists these serving VMs (backend -> name -> address), so a reload loses none."""
        ...
