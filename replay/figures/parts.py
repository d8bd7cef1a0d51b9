"""What the ledger says of the parts: hosts with their hypervisors, and the horizon of each pool."""

from typing import Final

from events.contract import ContractTookEffect
from events.envelope import Recorded
from events.fact import Fact
from events.host import HostRegistered, HostRemoved
from events.pool import PoolDefined
from schemas.contract.document import terms
from schemas.contract.terms import Contract
from schemas.pool import Pool


class Parts:
    """The newest word about each host and pool, and the contract in force of each org."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {HostRegistered, HostRemoved, PoolDefined, ContractTookEffect}
    )

    def __init__(self) -> None:
        self.hosts: dict[str, HostRegistered] = {}
        self.pools: dict[tuple[str, str], Pool] = {}
        self._contracts: dict[str, Contract] = {}

    def horizons_seconds(self) -> list[int]:
        """Each pool's horizon, a contract's own number before the pool's; sorted."""
        agreed = (
            self._contracts[org].pool(pool) if org in self._contracts else pool
            for (org, _), pool in self.pools.items()
        )
        return sorted(pool.horizon_seconds for pool in agreed)

    def substrates(self) -> list[str]:
        """`qemu, libvirt 9.0.0` of every host that is part of the platform, each once, sorted."""
        return sorted({f"{host.substrate}, libvirt {version(host)}" for host in self.hosts.values()})

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        match recorded.fact:
            case HostRegistered(host=host) as fact:
                self.hosts[host] = fact
            case HostRemoved(host=host):
                self.hosts.pop(host, None)
            case PoolDefined(org=org, pool=pool, definition=definition):
                self.pools[org, pool] = definition
            case ContractTookEffect(org=org, document=document):
                self._contracts[org] = terms(document)
            case _:
                pass


def version(host: HostRegistered) -> str:
    """libvirt counts 9.2.1 as 9,002,001."""
    major, rest = divmod(host.libvirt_version, 1_000_000)
    return f"{major}.{rest // 1000}.{rest % 1000}"
