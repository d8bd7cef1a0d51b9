"""What the gate answers to who wants a domain of somebody else's, and to who may do what."""

from typing import Any

import pytest

from events.envelope import Recorded
from events.gate import AdoptOrdered, BootOrdered, RebootOrdered
from events.host import HostChangeRequested, HostFenced
from events.keep import VmAdopted, VmAdoptFailed, VmAdoptRequested, VmCreated
from events.permission import (
    PermissionChange,
    PermissionChangeRequested,
    PermissionGranted,
    PermissionRevoked,
)
from events.volume import VolumeAdopted, VolumeAdoptFailed
from schemas.capacity import Size
from schemas.names import PLATFORM
from tests.given import ORG
from tests.keeping import GIB, ONE, TWO, Keeping, named


class Adopting(Keeping):
    def adopt(self, vm: str = "old", **terms: Any) -> Recorded:
        members: dict[str, Any] = {
            "pool": "apps",
            "host": "h1",
            "domain": "old-machine",
            "uuid": "5f0c1b0e-7f3f-4d2c-9f61-0a9d3a0e7d11",
            "size": ONE,
            "image": "tiny",
            "kind": "lab",
            "readiness": "http",
            "disk": "/var/lib/libvirt/images/old.qcow2",
            "disk_bytes": 20 * GIB,
            "reason": "moved here",
        }
        return self.happened(
            VmAdoptRequested(
                org=ORG,
                vm=vm,
                publisher="operator",
                key=str(self.seq + 1),
                actor="kim",
                received_at=self.now,
                **members | terms,
            )
        )

    def permit(self, change: PermissionChange) -> str:
        self.happened(
            PermissionChangeRequested(
                ORG,
                "operator",
                str(self.seq + 1),
                "kim",
                "ci",
                "sudo-srv",
                change,
                "it rolls out kernels",
                self.now,
            )
        )
        (answer,) = self.round().answers
        return answer.code


def adopting(**pool: Any) -> Adopting:
    past = Adopting()
    past.setting(**pool)
    return past


def ordered(past: Adopting) -> AdoptOrdered:
    past.adopt()
    _, (order,) = past.answer()
    assert isinstance(order, AdoptOrdered)
    return order


def test_a_domain_is_taken_over_and_its_vm_starts_once_that_is_done() -> None:
    past = adopting()
    past.adopt()
    decision = past.decide()
    assert decision is not None
    (made,), (order,) = decision.facts, decision.decided.orders
    assert isinstance(made, VmCreated)
    assert isinstance(order, AdoptOrdered)
    assert (made.vm, made.disk_bytes, order.domain, order.host) == ("old", 20 * GIB, "old-machine", "h1")
    past.stored(decision)
    assert past.used == (0, 20)
    past.change("start", vm="old")
    assert past.answer()[0].code == "CopyUnderWay"
    past.happened(
        VolumeAdopted(
            ORG, "old", "h1", order.id, order.disk, "/disks/acme.old.qcow2", "tiny", 21 * GIB, past.now
        )
    )
    past.happened(VmAdopted(ORG, "old", "h1", order.id, "vs-acme.old", past.now))
    assert past.used == (0, 21)
    assert past.state.directory.adopting == {}
    past.change("start", vm="old")
    _, (boot,) = past.answer()
    assert isinstance(boot, BootOrdered)
    assert boot.host == "h1"


def test_an_adoption_is_a_vm_and_an_order_and_both_say_what_was_asked() -> None:
    past = adopting()
    past.cordoned("h1")
    asked = past.adopt(image="debian-12", kind="cloud-init", readiness="none", size=Size("s", 1, 4096))
    decision = past.decide()
    assert decision is not None
    assert decision.facts == (
        VmCreated(
            org=ORG,
            vm="old",
            pool="apps",
            size=Size("s", 1, 4096),
            image="debian-12",
            kind="cloud-init",
            readiness="none",
            disk_bytes=20 * GIB,
            seed=None,
            protected=False,
            actor="kim",
            created_at=past.now,
        ),
    )
    assert decision.decided.orders == (
        AdoptOrdered(
            id=named(asked, "adopt.ordered", "old"),
            vm="old",
            pool="apps",
            host="h1",
            domain="old-machine",
            uuid="5f0c1b0e-7f3f-4d2c-9f61-0a9d3a0e7d11",
            disk="/var/lib/libvirt/images/old.qcow2",
            size_bytes=20 * GIB,
            template="debian-12",
            request=asked.id,
        ),
    )
    (answer,) = decision.decided.answers
    assert [(one.dimension, one.requested) for one in answer.evidence if one.requested] == [
        ("block_bytes", 20 * GIB)
    ]


def test_a_domain_is_taken_over_into_a_cluster_and_its_vm_starts_on_any_host_that_has_room() -> None:
    past = adopting(storage="ceph")
    past.host("h2", memory_mib=1 << 18)
    past.adopt(host="h2")
    _, (order,) = past.answer()
    assert isinstance(order, AdoptOrdered)
    assert (order.host, order.disk, past.used) == ("h2", "/var/lib/libvirt/images/old.qcow2", (0, 20))
    past.happened(
        VolumeAdopted(ORG, "old", "h2", order.id, order.disk, f"org-{ORG}/old", "tiny", 20 * GIB, past.now)
    )
    past.change("start", vm="old")
    assert past.answer()[0].code == "CopyUnderWay"
    past.happened(VmAdopted(ORG, "old", "h2", order.id, "vs-acme.old", past.now))
    past.happened(HostFenced("platform", "h2", "kim", "its rack burnt", past.now))
    past.change("start", vm="old")
    _, (boot,) = past.answer()
    assert isinstance(boot, BootOrdered)
    assert boot.host == "h1"


@pytest.mark.parametrize("who", [VmAdoptFailed, VolumeAdoptFailed])
def test_a_domain_that_could_not_be_taken_over_leaves_no_vm_and_no_name(
    who: type[VmAdoptFailed] | type[VolumeAdoptFailed],
) -> None:
    past = adopting()
    order = ordered(past)
    past.happened(who(ORG, "old", "h1", order.id, "domain-runs", "It runs.", past.now))
    assert past.state.directory.get(ORG, "old") is None
    assert past.used == (0, 0)
    past.adopt()
    assert past.answer()[0].code == "Granted"


def test_a_name_is_free_again_only_when_the_disk_lies_where_it_lay() -> None:
    past = adopting()
    order = ordered(past)
    past.happened(
        VolumeAdopted(
            ORG, "old", "h1", order.id, order.disk, "/disks/acme.old.qcow2", "tiny", 20 * GIB, past.now
        )
    )
    past.happened(VmAdoptFailed(ORG, "old", "h1", order.id, "domain-runs", "It runs.", past.now))
    assert past.used == (0, 20)
    past.create("old", start=False)
    assert past.answer()[0].code == "NameTaken"
    past.happened(VolumeAdoptFailed(ORG, "old", "h1", order.id, "domain-runs", "It runs.", past.now))
    assert past.used == (0, 0)
    past.create("old", start=False)
    assert past.answer()[0].code == "Granted"
    past.happened(VolumeAdoptFailed(ORG, "old", "h1", order.id, "domain-runs", "Told again.", past.now))
    assert past.used == (0, 10)


def test_a_host_on_which_a_domain_is_being_taken_over_is_not_removed() -> None:
    past = adopting()
    ordered(past)
    state = past.state
    assert state.directory.adopting
    past.org = PLATFORM
    past.happened(
        HostChangeRequested(PLATFORM, "h1", "remove", "operator", "remove-h1", "kim", "sold", past.now)
    )
    (answer,) = past.round().answers
    assert answer.code == "HostInUse"


def test_a_failure_of_a_former_try_is_nobodys_end() -> None:
    past = adopting()
    former = ordered(past)
    past.happened(VmAdoptFailed(ORG, "old", "h1", former.id, "domain-runs", "It runs.", past.now))
    order = ordered(past)
    past.happened(VmAdoptFailed(ORG, "old", "h1", former.id, "domain-runs", "It runs.", past.now))
    assert past.state.directory.adopting == {(ORG, "old"): order}
    assert past.used == (0, 20)


@pytest.mark.parametrize(
    ("pool", "terms", "code"),
    [
        ({}, {"pool": "nobody"}, "PoolUnknown"),
        ({}, {"host": "h9"}, "HostUnknown"),
        ({"disk_gib": 10}, {}, "CapExceeded"),
        ({}, {"size": Size("none", 1024, 1024)}, "VcpuTooMany"),
        ({}, {"disk_bytes": 1 << 60}, "DiskTooLarge"),
    ],
    ids=["pool", "host", "cap", "limits", "disk"],
)
def test_what_cannot_be_taken_over_is_left_as_it_is(
    pool: dict[str, Any], terms: dict[str, Any], code: str
) -> None:
    past = adopting(**pool)
    past.adopt(**terms)
    answer, orders = past.answer()
    assert (answer.code, orders) == (code, ())
    assert bool(answer.evidence) == (code == "CapExceeded")
    assert past.state.directory.vms == {}


def test_nothing_is_taken_over_on_a_host_that_is_fenced_or_into_a_pool_that_scales() -> None:
    past = adopting()
    past.pool("web")
    past.adopt(pool="web")
    assert past.answer()[0].code == "PoolScales"
    past.fenced("h1")
    past.adopt()
    assert past.answer()[0].code == "HostFenced"


def test_a_name_that_somebody_has_is_not_given_again() -> None:
    past = adopting()
    past.create("old", start=False)
    past.round()
    past.adopt()
    assert past.answer()[0].code == "NameTaken"


# ---------------------------------------------------------------------------------------------------------- permission


def test_a_publisher_reboots_at_once_as_long_as_it_may() -> None:
    past = Adopting()
    past.running()
    for change, code in (("grant", "Done"), ("grant", "AlreadyDone")):
        assert past.permit(change) == code  # type: ignore[arg-type]
    past.change("reboot", publisher="ci")
    answer, (order,) = past.answer()
    assert isinstance(order, RebootOrdered)
    assert answer.code == "Granted"
    past.runs()
    assert past.permit("revoke") == "Done"
    past.change("reboot", publisher="ci")
    assert past.answer()[0].code == "SudoSrvMissing"


def test_a_resize_at_once_is_a_reboot_at_once() -> None:
    past = Adopting()
    past.running()
    past.resize(TWO, publisher="ci")
    assert past.answer()[0].code == "SudoSrvMissing"
    past.resize(TWO, publisher="ci", when="window")
    assert past.answer()[0].code == "Announced"


def test_a_resize_at_once_for_which_the_host_has_no_room_is_refused_with_its_numbers() -> None:
    past = Adopting()
    past.running(vcpu=64)
    past.resize(Size("large", 2, 1 << 17))
    answer, orders = past.answer()
    assert (answer.code, orders) == ("HostsFull", ())
    assert answer.evidence[-1].dimension == "host_memory_mib"


def test_a_permission_is_given_and_taken_by_somebody_for_a_reason() -> None:
    past = adopting()
    wanted: tuple[tuple[PermissionChange, type[PermissionGranted | PermissionRevoked]], ...] = (
        ("grant", PermissionGranted),
        ("revoke", PermissionRevoked),
    )
    for change, fact in wanted:
        past.permit(change)
        shall = fact(ORG, "ci", "sudo-srv", "kim", "it rolls out kernels", past.now)
        assert shall in [line.fact for line in past.lines]
        assert past.permit(change) == "AlreadyDone"
