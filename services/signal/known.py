"""What the door knows of the house: orgs, pools, hosts, documents and keys, as far as the ledger was read."""

from dataclasses import dataclass, field

from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage


@dataclass(frozen=True, slots=True)
class Known:
    """The views that a request is judged by before it is stored."""

    usage: Usage = field(default_factory=Usage)
    fleet: Fleet = field(default_factory=Fleet)
    contracts: Contracts = field(default_factory=Contracts)

    def has(self, org: str) -> bool:
        """Whether the org has a contract or a pool here."""
        return org in self.usage.contracts or any(owner == org for owner, _ in self.fleet.pools)
