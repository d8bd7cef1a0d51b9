"""Where a pinned VM goes on its host, what its domain says of it, and which VM has an ephemeral disk."""

import datetime as dt
from typing import cast

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.gate import BootOrdered
from events.ids import derive
from events.pool import PoolDefined
from schemas.capacity import Size
from schemas.ephemeral import POLICIES, ephemeral_bytes
from schemas.pool import Pool
from schemas.sizes import COMPUTE, GENERAL, own, read
from services.waker.libvirt import ephemeral, numa
from services.waker.libvirt.marks import Mark
from services.waker.libvirt.numa import Node, NodesFullError, UnpinnableError
from services.waker.port import SAVE_SECONDS, Definition
from tests.rules.desk import play
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause

GIB = 1 << 30
NOW = POLICIES[-1].valid_from
ZERO, ONE = Node(0, (0, 1), 4096), Node(1, (2, 3), 8192)
TEMPLATE = "<domain><name>x</name><vcpu current='1'>2</vcpu><devices><disk/></devices></domain>"
CAPABILITIES = """<capabilities><host><topology><cells num='3'>
<cell id='0'><memory unit='KiB'>4194304</memory><cpus num='2'><cpu id='1'/><cpu id='0'/></cpus></cell>
<cell id='1'><memory unit='KiB'>8388608</memory><cpus num='2'><cpu id='2'/><cpu id='3'/></cpus></cell>
<cell id='2'><memory unit='KiB'>8388608</memory><cpus num='0'/></cell>
</cells></topology></host></capabilities>"""


def mark(node: int | None, memory_mib: int) -> Mark:
    return Mark("acme", "apps", "x", Size("small", 1, memory_mib), "tiny", 21_000, node=node)


# --------------------------------------------------------------------------------------------------------------- NUMA


def test_a_node_that_is_memory_alone_is_no_place_for_a_vm() -> None:
    assert numa.nodes(CAPABILITIES) == (ZERO, ONE)


def test_a_pinned_vm_goes_to_the_node_with_the_most_left() -> None:
    assert numa.choose("h1", (ZERO, ONE), {}, 1024) == ONE
    assert numa.choose("h1", (ZERO, ONE), {1: 5000}, 1024) == ZERO


def test_of_two_nodes_with_as_much_left_it_is_the_lower() -> None:
    assert numa.choose("h1", (ONE, ZERO), {1: 4096}, 1024) == ZERO


def test_only_pinned_domains_take_of_a_node() -> None:
    assert numa.taken_mib([mark(0, 512), mark(0, 256), mark(None, 4096), mark(1, 64)]) == {0: 768, 1: 64}


def test_a_vm_that_fits_no_node_is_refused_though_its_host_has_room_in_all() -> None:
    with pytest.raises(NodesFullError, match="No NUMA node of host h1 has 9000 MiB") as refused:
        numa.choose("h1", (ZERO, ONE), {}, 9000)
    assert "node 1 has the most left, 8192 MiB" in str(refused.value)
    assert (refused.value.code, refused.value.final) == ("NodesFull", True)


def test_a_host_that_tells_of_no_node_pins_nothing() -> None:
    with pytest.raises(NodesFullError, match="it tells of none"):
        numa.choose("h1", (), {}, 1)


@given(st.lists(st.integers(32, 2048), max_size=30))
def test_no_node_is_ever_given_more_than_it_has(sizes: list[int]) -> None:
    placed: list[Mark] = []
    for memory_mib in sizes:
        taken = numa.taken_mib(placed)
        try:
            node = numa.choose("h1", (ZERO, ONE), taken, memory_mib)
        except NodesFullError:
            assert all(taken[node.number] + memory_mib > node.memory_mib for node in (ZERO, ONE))
            continue
        placed.append(mark(node.number, memory_mib))
    taken = numa.taken_mib(placed)
    assert all(taken[node.number] <= node.memory_mib for node in (ZERO, ONE))


def test_memory_of_a_node_is_kept_for_a_vm_that_is_about_to_start_and_not_for_one_that_never_did() -> None:
    class Connection:
        def getCapabilities(self) -> str:  # noqa: N802 - libvirt's name
            return CAPABILITIES

    now = [0.0]
    pinning = numa.Pinning("h1", cast("libvirt.virConnect", Connection()), lambda: now[0])
    marks = {"vs-acme.one": mark(1, 8192)}
    assert pinning.node("vs-acme.one", 8192, (), marks) == ONE
    pinning.comes("vs-acme.one")
    with pytest.raises(NodesFullError):
        pinning.node("vs-acme.two", 8192, (), marks)
    now[0] = SAVE_SECONDS
    assert pinning.node("vs-acme.two", 8192, (), marks) == ONE


def test_a_pinned_domain_says_its_node_and_its_cpus() -> None:
    xml = numa.pin(TEMPLATE, ONE)
    assert "<vcpu cpuset='2,3' current='1'>2</vcpu>" in xml
    assert "<numatune><memory mode='strict' nodeset='1'/></numatune>" in xml


@pytest.mark.parametrize(
    "template",
    [
        TEMPLATE.replace("<vcpu", "<vcpu cpuset='0'"),
        TEMPLATE.replace("<devices>", "<numatune/><devices>"),
        TEMPLATE.replace("<devices>", "<cputune><vcpupin vcpu='0' cpuset='0'/></cputune><devices>"),
        "<domain><name>x</name></domain>",
    ],
)
def test_a_template_that_says_itself_where_its_vms_are_is_not_pinned(template: str) -> None:
    with pytest.raises(UnpinnableError, match="its template says itself"):
        numa.pin(template, ZERO)


# ---------------------------------------------------------------------------------------------------------- ephemeral


def test_ephemeral_disks_begin_with_the_xl_sizes_and_double() -> None:
    for family in (GENERAL, COMPUTE):
        assert [ephemeral_bytes(size, NOW) // GIB for size in family] == [0, 0, 0, 50, 100, 200, 400]


@pytest.mark.parametrize(("vcpu", "gib"), [(1, 0), (7, 0), (8, 50), (15, 50), (16, 100), (1024, 400)])
def test_a_size_of_ones_own_has_the_disk_of_the_named_one_below(vcpu: int, gib: int) -> None:
    assert ephemeral_bytes(own(vcpu, 4096), NOW) == gib * GIB


def test_before_the_first_policy_nobody_had_an_ephemeral_disk() -> None:
    assert ephemeral_bytes(read("vs.4xl"), NOW - dt.timedelta(seconds=1)) == 0


def test_the_disk_is_the_last_one_of_the_domain_and_in_no_snapshot() -> None:
    xml = ephemeral.attach(TEMPLATE, "/volumes/a&b")
    assert xml.index("<disk/>") < xml.index("snapshot='no'") < xml.index("</devices>")
    assert "<source file='/volumes/a&amp;b'/>" in xml
    assert "<target dev='vdz' bus='virtio'/><serial>ephemeral</serial>" in xml


# -------------------------------------------------------------------------------------------------- what is asked for

POOL = Pool(org="acme", name="apps", size=SIZE, template="tiny", kind="kept")


def defined(pool: Pool, size: Size) -> Definition:
    """What the waker asks its hypervisor for, to boot a VM of the pool."""
    found: list[Definition] = []

    async def scene() -> None:
        site = Site()
        site.desk.write(PoolDefined("acme", "apps", pool))
        begin_by = site.desk.clock.now() + dt.timedelta(seconds=180)
        order = derive("boot", "db")
        site.order(
            BootOrdered(order, "db", "apps", "h1", size, "tiny", derive("request"), "keep", begin_by, 180)
        )
        async with site.waker():
            await pause(5)
        found.extend(site.host.defined)

    play(scene)
    return found[-1]


def test_a_pool_that_says_nothing_pins_nothing_and_has_no_ephemeral_disks() -> None:
    definition = defined(POOL, own(8, 512))
    assert (definition.pinned, definition.ephemeral_bytes) == (False, 0)


def test_a_pool_says_that_its_vms_are_pinned() -> None:
    assert defined(replace(POOL, numa="pinned"), SIZE).pinned


@pytest.mark.parametrize(("vcpu", "gib"), [(7, 0), (8, 50)])
def test_a_pool_says_that_its_larger_vms_have_an_ephemeral_disk(vcpu: int, gib: int) -> None:
    assert defined(replace(POOL, ephemeral=True), own(vcpu, 512)).ephemeral_bytes == gib * GIB
