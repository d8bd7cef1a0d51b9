"""Domains of somebody else that became ours: once storage has the disk, the former domain goes, and never its disk.

From then on the VM has no domain, as one that was made and never ran: its first boot defines it by its pool's template.
"""

from events.clock import Clock
from events.gate import AdoptOrdered
from events.keep import VmAdopted, VmAdoptFailed
from projections.adoptions.fold import Adoptions
from schemas.names import shorten
from services.waker.bars import timed
from services.waker.outcomes import Outcomes
from services.waker.port import Hypervisor, HypervisorError, domain_name
from services.waker.state import Key

DOMAIN_RUNS = "domain-runs"
"""Somebody started it, or left it asleep: it is not touched."""

DOMAIN_CHANGED = "domain-changed"
"""Its uuid belongs to another domain than the one that was to be adopted."""


class Adopting:
    """The waker's hands on domains of its host that are not ours any more than by an order."""

    def __init__(
        self, hypervisor: Hypervisor, outcomes: Outcomes, adoptions: Adoptions, clock: Clock, host: str
    ) -> None:
        self._hypervisor = hypervisor
        self._outcomes = outcomes
        self._adoptions = adoptions
        self._clock = clock
        self._host = host

    def keys(self) -> list[Key]:
        """VMs whose former domains are to go from this host now."""
        return [key for key in self._adoptions.open if self.order(key)]

    def order(self, key: Key) -> AdoptOrdered | None:
        """The order by which the former domain is to go from this host now; None where there is none."""
        known = self._adoptions.turn(*key, "retire")
        return known.order if known is not None and known.order.host == self._host else None

    async def adopt(self, key: Key, order: AdoptOrdered) -> None:
        """The former domain is gone, or the ledger knows why not; an error is tried again by whoever called.

        Safe to repeat: one that is missing is gone. One that runs is left as it is: then storage gives its disk back.
        """
        try:
            found = await timed("retire", self._hypervisor.retire(order.domain, order.uuid))
        except HypervisorError as error:
            if not error.final:
                raise
            await self._failed(
                key,
                order,
                DOMAIN_CHANGED,
                f"{error} It is left as it is, and {key[0]}/{key[1]} is not made of it.",
            )
            return
        now = self._clock.now()
        if found in {"off", "missing"}:
            fact = VmAdopted(
                org=key[0],
                vm=key[1],
                host=self._host,
                order=order.id,
                domain=domain_name(*key),
                adopted_at=now,
            )
            await self._outcomes.ended(fact, "vm.adopted", order, now)
            return
        text = (
            f"The domain {order.domain} on {self._host} is {found}, and only one that is off becomes {key[0]}/{key[1]}: it is left as it "
            "is. Shut it down, and ask again."
        )
        await self._failed(key, order, DOMAIN_RUNS, text)

    async def _failed(self, key: Key, order: AdoptOrdered, code: str, text: str) -> None:
        now = self._clock.now()
        fact = VmAdoptFailed(
            org=key[0],
            vm=key[1],
            host=self._host,
            order=order.id,
            code=code,
            text=shorten(text),
            observed_at=now,
        )
        await self._outcomes.ended(fact, "vm.adopt-failed", order, now)
