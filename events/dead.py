"""Hosts that are dead or gone, as far as one fold has read: an order that starts a VM on one of them is void."""

from dataclasses import dataclass, field

from events.fact import Fact
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved


@dataclass(slots=True)
class DeadHosts:
    """Which hosts are fenced or removed at this place of the ledger; the last word about a host is the one that holds.

    An order and the word that its host is dead can cross: the fences of two orgs do not know of each other. Their order
    in the ledger is the same for every reader, so whoever folds one after the other comes to the same end.
    """

    _fenced: set[str] = field(default_factory=set[str])
    _removed: set[str] = field(default_factory=set[str])

    def __contains__(self, host: str) -> bool:
        return host in self._fenced or host in self._removed

    def apply(self, fact: Fact) -> None:
        """The event is taken into account; most say nothing about it. Only a removed host comes back by registering."""
        match fact:
            case HostFenced(host=host):
                self._fenced.add(host)
                self._removed.discard(host)
            case HostAdmitted(host=host):
                self._fenced.discard(host)
            case HostRemoved(host=host):
                self._removed.add(host)
                self._fenced.discard(host)
            case HostRegistered(host=host):
                self._removed.discard(host)
            case _:
                pass
