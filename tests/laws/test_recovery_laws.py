"""Laws of a recovered ledger: whatever it lost, what runs on a host counts before the host is reconciled."""

from collections.abc import Mapping
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from events.envelope import read
from events.host import HostReconciled
from events.ledger import LedgerRecovered
from events.vm import VmFoundAwake
from projections.usage.fold import Usage
from schemas.names import PLATFORM
from services.waker.port import DomainState
from tests.laws.strength import examples
from tests.rules.desk import play
from tests.rules.waker_host import Site
from tests.simulation.clock import pause

Known = Literal["nothing", "asleep", "awake", "waking", "suspending"]
"""What the ledger still says of a VM."""

VMS = tuple(f"web-{number}" for number in range(1, 6))
WORLDS = st.fixed_dictionaries(
    {
        vm: st.tuples(
            st.sampled_from(["nothing", "asleep", "awake", "waking", "suspending"]),
            st.sampled_from(["running", "paused", "off", "missing"]),
        )
        for vm in VMS
    }
)


def lay_out(site: Site, world: Mapping[str, tuple[Known, DomainState]]) -> int:
    """The ledger knows so much, the host has these domains, and then the ledger was recovered; where."""
    for vm, (known, state) in world.items():
        match known:
            case "nothing":
                pass
            case "asleep":
                site.asleep(vm)
            case "awake":
                site.awake(vm)
            case "waking":
                site.asleep(vm)
                site.wake(vm)
            case "suspending":
                site.suspend(vm, site.awake(vm))
        site.host.put(vm, state, heard=False)
    fact = LedgerRecovered(
        org=PLATFORM,
        epoch=1,
        origin="ledger.example/house",
        size=site.desk.server.ledger.last,
        root="0" * 64,
        checkpoint="a note",
        lost_first=0,
        lost_last=0,
        actor="ann",
        reason="the disk died",
        recovered_at=site.desk.clock.now(),
    )
    return site.desk.write(fact).seq


def counted(site: Site, seq: int) -> set[str]:
    """VMs that count against the contract by what the ledger says up to there."""
    usage = Usage()
    for stored in site.desk.stored()[:seq]:
        usage.apply(read(stored.seq, stored.stored_ns, stored.payload))
    return {vm for _, vm in usage.holdings}


@examples(60)
@given(world=WORLDS)
def test_what_runs_on_a_host_counts_when_the_host_is_reconciled_and_so_it_is_within_seconds(
    world: dict[str, tuple[Known, DomainState]],
) -> None:
    async def scene() -> None:
        site = Site()
        began = lay_out(site, world)
        seen: list[set[str]] = []
        async with site.waker() as waker:
            tell = waker._outcomes.reconciled

            async def reconciled(recovered_seq: int, domains: int, awake: int) -> None:
                seen.append({vm for vm in VMS if site.host.of(vm) == "running"})
                await tell(recovered_seq, domains, awake)

            waker._outcomes.reconciled = reconciled
            await pause(30)
        [told] = site.desk.facts(HostReconciled)
        assert isinstance(told.fact, HostReconciled)
        assert told.fact.recovered_seq == began
        assert seen[0] <= counted(site, told.seq), world
        # And at the end, when all orders were carried out, what runs counts and is known.
        running = {vm for vm in VMS if site.host.of(vm) == "running"}
        assert running <= counted(site, site.desk.server.ledger.last), world
        strays = {one.fact.vm for one in site.desk.facts(VmFoundAwake) if isinstance(one.fact, VmFoundAwake)}
        assert strays <= {vm for vm, (known, _) in world.items() if known in {"nothing", "asleep"}}

    play(scene)
